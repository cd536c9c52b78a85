//! Container images, archives and directories become function images here.

pub mod builder;
pub mod config;
pub mod entry;
pub mod erofs;
pub mod error;
pub mod limits;
mod pack;
mod path;
pub mod progress;
pub mod source;
mod tar;

pub use entry::LayerSink;
pub use error::Error;
pub use limits::Limits;
pub use progress::{Progress, ProgressEvent};
pub use source::Source;
