//! Container images, archives and directories become function images here.

pub mod builder;
pub mod config;
mod convert;
pub mod entry;
pub mod erofs;
pub mod error;
pub mod limits;
pub mod materialize;
mod pack;
mod path;
pub mod progress;
mod publish;
pub mod source;
mod tar;
pub mod verify;

pub use convert::{ConvertOptions, convert, convert_async};
pub use entry::LayerSink;
pub use error::Error;
pub use limits::Limits;
pub use progress::{Progress, ProgressEvent};
pub use publish::{Published, publish};
pub use source::Source;
