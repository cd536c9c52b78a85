//! Container images, archives and directories become function images here.

pub mod builder;
pub mod entry;
pub mod erofs;
pub mod error;
mod pack;
pub mod progress;

pub use entry::LayerSink;
pub use error::Error;
pub use progress::{Progress, ProgressEvent};
