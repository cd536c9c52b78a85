//! The per-VM daemon of Function Trees: receives, verifies, stores and relays blocks, serves mounts, starts
//! containers.
//!
//! How trees are shaped, and which block goes where when, is not known here: `ft_core` decides, this crate
//! carries out.

mod agent;
pub mod container;
mod error;
pub mod image;
mod images;
mod lifecycle;
pub mod mount;
mod options;
mod outbox;
pub mod relay;
mod root;
mod state;
pub mod transport;
pub mod wire;
mod worker;

pub use error::WorkerError;
pub use options::{RootChoice, WorkerLimits, WorkerOptions};
pub use root::Materializer;
pub use worker::Worker;
