//! The relay engine: what one worker does with the blocks of one function image.
//!
//! A state machine without IO. The driver (the worker, or the simulator) hands in [`Input`]s with the time at
//! which they happened, then takes [`Output`]s until there are none, and calls again with
//! [`Input::Timeout`] when the engine's deadline has passed.

mod event;
mod set;

pub use event::{
    Ask, Class, Edges, Input, Mode, Output, Rejection, Source, StripeEdges, StripeSet, Subscription,
};
pub use set::BlockSet;
