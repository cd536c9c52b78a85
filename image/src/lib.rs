//! Container images, archives and directories become function images here.

pub mod entry;
pub mod error;
pub mod progress;

pub use error::Error;
pub use progress::{Progress, ProgressEvent};
