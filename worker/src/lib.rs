//! The per-VM daemon of Function Trees: receives, verifies, stores and relays blocks, serves mounts, starts
//! containers.
//!
//! How trees are shaped, and which block goes where when, is not known here: `ft_core` decides, this crate
//! carries out.

pub mod mount;
pub mod transport;
pub mod wire;
