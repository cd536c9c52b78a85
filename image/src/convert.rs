//! From a source to a function image, in one call.

use crate::Error;
use crate::builder::{BuildOptions, Converted, ImageBuilder};
use crate::config::{Accounts, AccountsSink, RunConfig, RunOverrides};
use crate::progress::Progress;
use crate::source::{OpenOptions, Source};

/// What to convert, and how.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// The image, archive or directory.
    pub source: Source,
    /// How it is opened and what it may hold.
    pub open: OpenOptions,
    /// How the function image is built, and where its packs are kept until they are published.
    pub build: BuildOptions,
    /// What to change in the image's run configuration.
    pub run: RunOverrides,
}

/// Converts a source into a function image. Blocks; for registries it has to be called within a tokio runtime,
/// from a thread that may block (`spawn_blocking`).
///
/// # Errors
/// The source cannot be read, is damaged, hostile or beyond a limit, or the work directory cannot be written. The
/// error names the layer and the entry. Nothing is left in the work directory then.
pub fn convert(options: ConvertOptions, progress: &dyn Progress) -> Result<Converted, Error> {
    let source = options.source.open(&options.open)?;
    let mut builder = ImageBuilder::new(options.build);
    let mut accounts = Accounts::default();
    for (number, info) in source.layers().iter().enumerate() {
        let mut layer = builder.begin_layer(&info.label)?;
        source.read_layer(number, &mut AccountsSink::new(&mut layer, &mut accounts), progress)?;
        layer.finish()?;
    }
    let config = RunConfig::new(source.config(), &options.run, &accounts)?;
    let config = serde_json::to_vec(&config).map_err(|error| Error::Malformed {
        document: "the run configuration".to_owned(),
        reason: error.to_string(),
    })?;
    builder.finish(config)
}
