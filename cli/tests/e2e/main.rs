//! End to end: what a user does, with real processes, links, mounts, containers and a real registry.
//! Needs root, and what `cargo xtask test` installs.
#![cfg(test)]

mod cluster;
mod corruption;
mod faults;
mod full;
mod images;
mod lazy;
mod registry;
mod restart;
mod tree_digest;
