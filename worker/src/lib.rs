//! The per-VM daemon of Function Trees: receives, verifies, stores and relays blocks, serves mounts, starts
//! containers.
//!
//! | module | what it does |
//! |---|---|
//! | `worker`, `options`, `state` | puts a worker together, takes it down; its directory |
//! | `agent`, `outbox` | the control plane: joins, reports, obeys |
//! | [`wire`], [`transport`] | what peers say to each other, and over what |
//! | [`relay`] | drives `ft_core::relay::Engine` for one image |
//! | [`image`](mod@image), `images` | one image's blocks, files and readers; all images |
//! | [`mount`], `root` | mounts; how a container gets its root file system |
//! | [`container`], `lifecycle` | runtimes; a container's life |
//!
//! **Invariant:** how trees are shaped, and which block goes where when, is not known here: `ft_core` decides,
//! this crate carries out.

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
pub use transport::{TransportChoice, TransportKind};
pub use worker::Worker;
