//! From a source to a function image, in one call.

use std::io::{self, Read};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::builder::{BuildOptions, Converted, ImageBuilder};
use crate::config::{Accounts, AccountsSink, RunConfig, RunOverrides};
use crate::entry::{Entry, LayerSink};
use crate::error::EntryProblem;
use crate::progress::Progress;
use crate::source::{OpenOptions, Source};

#[cfg(test)]
mod tests;

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

/// Converts a source into a function image. Blocks; for registries it has to be called within a tokio
/// runtime, from a thread that may block. [`convert_async`] sees to both.
///
/// # Errors
/// The source cannot be read, is damaged, hostile or beyond a limit, or the work directory cannot be
/// written. The error names the layer and the entry. Nothing is left in the work directory then.
pub fn convert(options: ConvertOptions, progress: &dyn Progress) -> Result<Converted, Error> {
    convert_until(&CancellationToken::new(), options, progress)
}

/// [`convert`] on one of tokio's threads for blocking work. If the future is dropped, the conversion stops
/// at the next entry or piece of data and removes what it has written.
///
/// # Errors
/// As [`convert`].
///
/// # Panics
/// Outside a tokio runtime.
pub async fn convert_async(options: ConvertOptions, progress: Arc<dyn Progress>) -> Result<Converted, Error> {
    let cancel = CancellationToken::new();
    let _stop_when_dropped = cancel.clone().drop_guard();
    let task = tokio::task::spawn_blocking(move || convert_until(&cancel, options, &*progress));
    match task.await {
        Ok(converted) => converted,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn convert_until(
    cancel: &CancellationToken,
    options: ConvertOptions,
    progress: &dyn Progress,
) -> Result<Converted, Error> {
    let source = options.source.open(&options.open)?;
    let mut builder = ImageBuilder::new(options.build);
    let mut accounts = Accounts::default();
    for (number, info) in source.layers().iter().enumerate() {
        let mut layer = builder.begin_layer(&info.label)?;
        let mut accounts = AccountsSink::new(&mut layer, &mut accounts);
        let mut sink = Cancellable { inner: &mut accounts, cancel, label: &info.label };
        source.read_layer(number, &mut sink, progress)?;
        layer.finish()?;
    }
    let config = RunConfig::new(source.config(), &options.run, &accounts)?;
    let config = serde_json::to_vec(&config).map_err(|error| Error::Malformed {
        document: "the run configuration".to_owned(),
        reason: error.to_string(),
    })?;
    builder.finish(config)
}

/// Passes a layer on until it is cancelled.
struct Cancellable<'a> {
    inner: &'a mut dyn LayerSink,
    cancel: &'a CancellationToken,
    label: &'a str,
}

impl LayerSink for Cancellable<'_> {
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        let mut data = CancellableRead { inner: data, cancel: self.cancel };
        data.check().map_err(|error| Error::entry(self.label, &entry.path, EntryProblem::Read(error)))?;
        self.inner.entry(entry, &mut data)
    }
}

struct CancellableRead<'a> {
    inner: &'a mut dyn Read,
    cancel: &'a CancellationToken,
}

impl CancellableRead<'_> {
    fn check(&self) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            Err(io::Error::other("the conversion was cancelled"))
        } else {
            Ok(())
        }
    }
}

impl Read for CancellableRead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}
