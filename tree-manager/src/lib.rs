//! The tree manager: the VM pool, the function trees, provisioning, and the gRPC services for all of it.
//!
//! What should be (functions, containers) is durable in one file; what is (who is connected, what runs
//! where) is learnt from the workers, again after every restart. Whatever differs is told to the worker
//! concerned, so that intent and observation meet.
//!
//! | module | what it knows |
//! |---|---|
//! | `manager` | start, server, shutdown |
//! | `state` | the redb file |
//! | `functions`, `tokens` | names, versions, blobs in use; who may join or call |
//! | `pool` | VMs, leases, placement |
//! | `slow`, `limits` | VMs that hold others up; what they may send |
//! | `trees` | one tree and its containers, without IO |
//! | `profiles` | what cold starts read |
//! | `session` | a worker's connection: reports up, commands down |
//! | `provision`, `reclaim` | what a scheduler asks for |
//! | `replace` | placing again what was lost with its VM |
//! | `services`, `auth` | gRPC: arguments, answers, rights |
//!
//! **Invariant:** block bytes never pass through here.
#![forbid(unsafe_code)]

mod auth;
mod core;
mod credentials;
mod functions;
mod ids;
mod limits;
mod manager;
mod pool;
mod profiles;
mod provision;
mod reclaim;
mod refusal;
mod replace;
mod services;
mod session;
mod slow;
mod state;
mod time;
mod tokens;
mod trees;
mod wire;

pub use manager::{Manager, ManagerError, ManagerOptions};
pub use state::StateError;
