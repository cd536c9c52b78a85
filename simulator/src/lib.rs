//! The cluster simulator: virtual time and modelled links around the very trees and relay engines that ship.
//!
//! So far it answers one question: how long a whole image takes to reach every VM of a static tree, as a
//! multiple of the bound S/B that no scheme can beat.

#![forbid(unsafe_code)]

mod cluster;
mod link;
mod queue;

pub use cluster::{Outcome, Plan, run};
