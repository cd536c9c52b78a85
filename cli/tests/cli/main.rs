//! `ft` as a user meets it: real processes on loopback, their output, exit codes, and what they leave behind.
//! Needs root, and what `cargo xtask test` installs.

mod bench;
mod by_hand;
mod cluster;
mod config;
mod daemon;
mod demo;
mod demo_ended;
mod demo_rootless;
mod exit_codes;
mod fuzz;
mod help;
mod host;
mod images;
mod refusals;
mod rootfs;
mod run;
