//! One layer's way from stored bytes to entries.

use std::io::{BufReader, Read};

use super::decode;
use super::verify::{Expect, Stage, Verified};
use crate::Error;
use crate::entry::LayerSink;
use crate::error::{EntryProblem, LayerProblem};
use crate::limits::Limits;
use crate::progress::{Progress, ProgressEvent};
use crate::tar::{EndMarker, TarReader};

/// Buffer between the stages.
const BUFFER: usize = 256 << 10;

/// A tar layer to be read.
pub(super) struct TarLayer<'a> {
    /// Its name in messages.
    pub(super) label: &'a str,
    /// What its stored bytes must be.
    pub(super) stored: Expect,
    /// What its unpacked bytes must be.
    pub(super) unpacked: Expect,
    pub(super) limits: Limits,
}

/// Who failed. A source's failure may have a deeper cause further down; a sink's is what it is.
enum Failure {
    Source(Error),
    Sink(Error),
}

impl TarLayer<'_> {
    /// Reads the layer in one pass, from its stored bytes, and gives its entries to `sink`.
    pub(super) fn read(
        &self,
        stored: impl Read,
        sink: &mut dyn LayerSink,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let counted = Counted { inner: stored, progress };
        let mut blob = Verified::new(counted, Stage::Stored, self.stored);
        match self.unpack(&mut blob, sink) {
            Ok(()) => blob.finish().map_err(|fault| Error::layer(self.label, fault)),
            Err(Failure::Sink(error)) => Err(error),
            Err(Failure::Source(error)) => {
                // Garbage has a cause: most often the bytes are not those that were meant.
                let verdict = if blob.has_digest() { blob.finish() } else { Ok(()) };
                let fault = blob.take_fault().or(verdict.err());
                Err(fault.map_or(error, |fault| Error::layer(self.label, fault)))
            }
        }
    }

    fn unpack(&self, blob: &mut Verified<impl Read>, sink: &mut dyn LayerSink) -> Result<(), Failure> {
        let vouched = blob.has_digest() || self.unpacked.digest.is_some();
        let end = if vouched { EndMarker::Optional } else { EndMarker::Required };
        let stored = BufReader::with_capacity(BUFFER, blob);
        let plain = decode::decoder(stored).map_err(|e| {
            Failure::Source(Error::layer(self.label, LayerProblem::Compression(e.to_string())))
        })?;
        let stage = Stage::Unpacked { limit: self.limits.layer_bytes };
        let mut plain = Verified::new(plain, stage, self.unpacked);
        let buffered = BufReader::with_capacity(BUFFER, &mut plain);
        let fed = feed(&mut TarReader::new(buffered, self.label, self.limits, end), sink);
        match fed {
            Ok(()) => plain.finish().map_err(|fault| Failure::Source(Error::layer(self.label, fault))),
            Err(Failure::Source(error)) => Err(Failure::Source(match plain.take_fault() {
                Some(fault) => self.blame(fault, error),
                None => error,
            })),
            sink_failed => sink_failed,
        }
    }

    /// The error for a fault of the unpacked stream: it keeps the name of the entry that `seen` met it in.
    fn blame(&self, fault: LayerProblem, seen: Error) -> Error {
        match seen {
            Error::Entry { layer, entry, .. } => {
                Error::Entry { layer, entry, problem: EntryProblem::Layer(fault) }
            }
            _ => Error::layer(self.label, fault),
        }
    }
}

/// Gives every member of an archive to the sink.
fn feed<R: Read>(tar: &mut TarReader<'_, R>, sink: &mut dyn LayerSink) -> Result<(), Failure> {
    while let Some(entry) = tar.next_entry().map_err(Failure::Source)? {
        if let Err(error) = sink.entry(&entry, &mut tar.data()) {
            return Err(match tar.take_failure() {
                Some(cause) => Failure::Source(cause),
                None => Failure::Sink(error),
            });
        }
    }
    Ok(())
}

/// Reports the bytes that pass through.
pub(super) struct Counted<'a, R> {
    pub(super) inner: R,
    pub(super) progress: &'a dyn Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let got = self.inner.read(buf)?;
        self.progress.report(ProgressEvent::LayerRead { bytes: got as u64 });
        Ok(got)
    }
}
