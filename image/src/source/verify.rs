//! Hashing, counting and bounding a stream while somebody else reads it.

use std::io::{self, Read};

use ft_core::Digest;
use sha2::{Digest as _, Sha256};

use crate::error::LayerProblem;

/// What must be true of a stream when it ends.
#[derive(Clone, Copy, Default)]
pub(super) struct Expect {
    /// Its SHA-256.
    pub(super) digest: Option<Digest>,
    /// Its length in bytes.
    pub(super) size: Option<u64>,
}

/// Whether a stream is the layer as stored or as unpacked: decides how its faults are named.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Stored,
    Unpacked {
        /// The most bytes that it may have.
        limit: u64,
    },
}

/// Passes a stream on and holds it to what is expected of it. The first fault ends it and is kept: readers
/// further up see only an `io::Error`.
pub(super) struct Verified<R> {
    inner: R,
    expect: Expect,
    stage: Stage,
    hasher: Option<Sha256>,
    seen: u64,
    ended: bool,
    fault: Option<LayerProblem>,
}

impl<R: Read> Verified<R> {
    pub(super) fn new(inner: R, stage: Stage, expect: Expect) -> Self {
        let hasher = expect.digest.map(|_| Sha256::new());
        Self { inner, expect, stage, hasher, seen: 0, ended: false, fault: None }
    }

    /// Whether a digest vouches for the stream.
    pub(super) fn has_digest(&self) -> bool {
        self.expect.digest.is_some()
    }

    /// What went wrong in this stream, if anything did.
    pub(super) fn take_fault(&mut self) -> Option<LayerProblem> {
        self.fault.take()
    }

    /// Reads what is left and checks the whole.
    pub(super) fn finish(&mut self) -> Result<(), LayerProblem> {
        let drained = io::copy(self, &mut io::sink());
        match (self.fault.take(), drained) {
            (Some(fault), _) => Err(fault),
            (None, Err(e)) => Err(LayerProblem::Read(e)),
            (None, Ok(_)) => Ok(()),
        }
    }

    fn fail(&mut self, fault: LayerProblem) -> io::Error {
        let shown = io::Error::other(fault.to_string());
        self.fault = Some(fault);
        self.ended = true;
        shown
    }

    fn check_length(&self) -> Result<(), LayerProblem> {
        match (self.stage, self.expect.size) {
            (Stage::Unpacked { limit }, _) if self.seen > limit => {
                Err(LayerProblem::Limit { what: "uncompressed bytes", limit })
            }
            (_, Some(expected)) if self.seen > expected || (self.ended && self.seen < expected) => {
                Err(LayerProblem::WrongSize { expected, actual: self.seen })
            }
            _ => Ok(()),
        }
    }

    fn check_digest(&mut self) -> Result<(), LayerProblem> {
        let (Some(expected), Some(hasher)) = (self.expect.digest, self.hasher.take()) else { return Ok(()) };
        let actual = Digest::from_bytes(hasher.finalize().into());
        match self.stage {
            _ if actual == expected => Ok(()),
            Stage::Stored => Err(LayerProblem::WrongDigest { expected, actual }),
            Stage::Unpacked { .. } => Err(LayerProblem::WrongDiffId { expected, actual }),
        }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.ended || buf.is_empty() {
            return Ok(0);
        }
        let got = match self.inner.read(buf) {
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            Err(e) if self.stage == Stage::Stored => return Err(self.fail(LayerProblem::Read(e))),
            Err(e) => return Err(self.fail(LayerProblem::Compression(e.to_string()))),
        };
        self.seen += got as u64;
        self.ended = got == 0;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buf[..got]);
        }
        let mut checked = self.check_length();
        if self.ended && checked.is_ok() {
            checked = self.check_digest();
        }
        match checked {
            Ok(()) => Ok(got),
            Err(fault) => Err(self.fail(fault)),
        }
    }
}
