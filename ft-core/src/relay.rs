//! The relay engine: what one worker does with the blocks of one function image.
//!
//! A state machine without IO. The driver (the worker, or the simulator) hands in [`Input`]s with the time at
//! which they happened, then takes [`Output`]s until there are none, and calls again with
//! [`Input::Timeout`] when the engine's deadline has passed. [`Engine`] says how.
//!
//! | module | holds |
//! |---|---|
//! | `event` | what goes in and out |
//! | `engine` | the doors, and the handlers that tie the rest together |
//! | `jobs` | the blocks that are being got: who waits, from where they come (state diagram) |
//! | `shelf`, `catalog` | the blocks that are here; the blocks that there are |
//! | `wants` | what is wanted though nobody waits |
//! | `place` | the edges, and whom to ask in which order |
//! | `links`, `feeds` | the sessions with sources (state diagram); who pushes each stripe |
//! | `service` | how long each source takes, and who is far slower than others |
//! | `budget` | this VM's share of what may be read from the origin |
//! | `children` | what goes to one peer, and whether it takes it |
//! | `policy`, `config` | windows, deadlines, pauses |
//! | `timer`, `stats`, `set` | what they say |
//!
//! Beside the engine, for its driver: `readahead` says what readers will want next, `bucket` limits a rate,
//! `pace` measures how fast this VM sends.

mod bucket;
mod budget;
mod catalog;
mod children;
mod config;
mod engine;
mod event;
mod feeds;
mod jobs;
mod links;
mod pace;
mod place;
mod policy;
mod readahead;
mod rhythm;
mod service;
mod set;
mod shelf;
mod standing;
mod stats;
#[cfg(test)]
mod testing;
mod timer;
mod wants;

pub use bucket::TokenBucket;
pub use config::{EngineConfig, Limits};
pub use engine::Engine;
pub use event::{
    Ask, Class, Edges, Input, Mode, Output, Rejection, Source, StripeEdges, StripeSet, Subscription,
};
pub use pace::{InHand, Pace, Rate, Rates};
pub use readahead::{Readahead, ReadaheadLimits};
pub use set::BlockSet;
pub use stats::{Stats, Traffic};
