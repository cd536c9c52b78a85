//! Images in a registry, read as they arrive: nothing of them rests on this machine.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use ft_blockstore::oci::{Reference, RegistryClient, RegistryError, RegistryOptions};
use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::documents::Descriptor;
use super::{Blobs, Root};
use crate::Error;

/// The media types of manifests and indexes that are understood.
const ACCEPT: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Pieces of a blob (some 16 KiB each) that may wait for the reader, so that the network and the converter
/// work at the same time.
const READ_AHEAD: usize = 256;

/// One repository of a registry. Its methods block; they may be called where blocking is allowed.
pub(in crate::source) struct Registry {
    client: RegistryClient,
    reference: Reference,
    runtime: Handle,
}

impl Registry {
    /// The repository of `reference` (`HOST/REPOSITORY:TAG`, or Docker's short forms). Needs the context of
    /// a tokio runtime.
    pub(in crate::source) fn new(reference: &str, options: &RegistryOptions) -> Result<Self, Error> {
        let runtime = Handle::try_current().map_err(|e| registry_error(reference, e))?;
        let parsed: Reference = reference.parse().map_err(|e| registry_error(reference, e))?;
        let client = RegistryClient::new(&parsed, options).map_err(|e| registry_error(reference, e))?;
        Ok(Self { client, reference: parsed, runtime })
    }

    /// What the reference points to.
    pub(in crate::source) fn root(&self) -> Result<Root, Error> {
        let name = self.reference.digest().or(self.reference.tag()).unwrap_or("latest");
        let json = self.fetch(name)?;
        Ok(Root::Document { json, name: self.reference.whole() })
    }

    fn fetch(&self, name: &str) -> Result<Vec<u8>, Error> {
        let manifest = self.runtime.block_on(self.client.manifest(name, &ACCEPT));
        let manifest = manifest.map_err(|e| registry_error(&self.reference.whole(), e))?;
        Ok(manifest.bytes.into())
    }
}

impl Blobs for Registry {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>, Error> {
        let mut stream = self.client.blob_stream(&blob.digest, blob.size);
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        self.runtime.spawn(async move {
            // Nobody receives any more: the reader has given up.
            while let Some(piece) = stream.next().await
                && sender.send(piece).await.is_ok()
            {}
        });
        Ok(Box::new(Pieces { receiver, piece: Bytes::new() }))
    }

    fn manifest(&self, manifest: &Descriptor, _: &str) -> Result<Vec<u8>, Error> {
        self.fetch(&manifest.digest.to_string())
    }
}

fn registry_error(reference: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Registry { reference: reference.to_owned(), cause: cause.into() }
}

/// A stream of pieces as a blocking reader.
struct Pieces {
    receiver: mpsc::Receiver<Result<Bytes, RegistryError>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let len = buf.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buf[..len]);
        Ok(len)
    }
}
