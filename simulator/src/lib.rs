//! The cluster simulator: virtual time and modelled links around the very trees and relay engines that ship.
//!
//! - [`run`] answers how long a whole image takes to reach every VM of a static tree, as a multiple of the bound
//!   S/B that no scheme can beat.
//! - [`swarm`] draws clusters, images, readers and faults from seeds, and checks what must hold whatever
//!   happens.
//!
//! Both are the same world (`world`); a run depends on nothing but its options.

#![forbid(unsafe_code)]

mod check;
mod cluster;
mod image;
mod log;
mod queue;
mod rng;
mod saboteur;
mod seen;
pub mod swarm;
mod world;

pub use cluster::{Outcome, Plan, Stalls, Throttled, run};
pub use saboteur::Mutation;
