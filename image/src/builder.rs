//! Builds a function image in one pass over its layers: a merged tree in memory, file data packed per layer.

use std::io::Read;
use std::path::PathBuf;
use std::thread::available_parallelism;

use ft_core::Digest;
use ft_core::manifest::{MAX_SEGMENTS, Manifest, Segment, SegmentKind};

use crate::Error;
use crate::entry::{Entry, LayerSink};
use crate::erofs;
use crate::error::LayerProblem;
use crate::pack::{Pack, SegmentWriter};

pub(crate) mod inode;
mod layer;
mod limits;
mod names;
pub(crate) mod tree;
pub(crate) mod xattrs;

pub use limits::ImageLimits;

use layer::Layer;
use tree::{LayerNumber, Tree};
use xattrs::XattrTable;

/// LZ4 packs 300-500 MB/s a thread; a source gives hardly more than 1 GB/s. Each thread costs about 3 MB.
const MAX_THREADS: usize = 4;

/// How to build an image.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// Where the packs are written, to files without names.
    pub work_dir: PathBuf,
    /// What a source may claim.
    pub limits: ImageLimits,
    /// Threads that compress; their number does not change the image.
    pub threads: usize,
}

impl BuildOptions {
    /// The usual limits, and a thread for each CPU up to the number that a single reader can feed.
    pub fn new(work_dir: impl Into<PathBuf>) -> Self {
        let threads = available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        Self { work_dir: work_dir.into(), limits: ImageLimits::default(), threads }
    }
}

/// A finished function image, not published yet: its packs lie in nameless files that go with it.
#[derive(Debug)]
pub struct Converted {
    /// The manifest.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// SHA-256 of the manifest's bytes: the image's identity.
    pub digest: Digest,
    /// The packs in segment order, each digest once.
    pub packs: Vec<Pack>,
    /// What went in and what came out.
    pub stats: Stats,
}

/// Figures about a conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Layers read.
    pub layers: u64,
    /// Entries read, in all layers.
    pub entries: u64,
    /// Inodes of the image.
    pub inodes: u64,
    /// Bytes of the metadata segment.
    pub metadata_bytes: u64,
    /// Bytes of all segments, decompressed.
    pub image_bytes: u64,
    /// Bytes of all packs.
    pub stored_bytes: u64,
    /// Xattrs that the image does not keep: foreign name spaces and `trusted.overlay.…`.
    pub xattrs_left_out: u64,
}

/// Takes layers, bottom first, and gives a [`Converted`].
#[derive(Debug)]
pub struct ImageBuilder {
    options: BuildOptions,
    tree: Tree,
    xattrs: XattrTable,
    totals: Totals,
    /// Each layer's data segment; `None` for a layer without file data.
    segments: Vec<Option<(Segment, Pack)>>,
}

/// What counts against the limits.
#[derive(Debug, Default)]
struct Totals {
    entries: u64,
    /// Claimed, in whole blocks.
    data_bytes: u64,
    /// Really read.
    delivered_bytes: u64,
    /// Zeros stored in the place of holes.
    padding_bytes: u64,
    chunks: u64,
}

impl ImageBuilder {
    /// A builder of an image without layers.
    pub fn new(options: BuildOptions) -> Self {
        let limit = usize::try_from(options.limits.directory_entries).unwrap_or(usize::MAX);
        Self {
            tree: Tree::new(limit),
            xattrs: XattrTable::new(),
            totals: Totals::default(),
            segments: Vec::new(),
            options,
        }
    }

    /// Starts the next layer, on top of those before; `label` names it in errors.
    ///
    /// # Errors
    /// An image has at most [`MAX_SEGMENTS`] segments, so there is a limit to its layers.
    pub fn begin_layer(&mut self, label: &str) -> Result<LayerBuilder<'_>, Error> {
        let number = self.segments.len() + 1;
        let limit = MAX_SEGMENTS - 1;
        match LayerNumber::try_from(number) {
            Ok(number) if usize::from(number) <= limit => {
                Ok(LayerBuilder { layer: Layer::new(self, number, label) })
            }
            _ => {
                let problem = LayerProblem::Limit { what: "layers below it", limit: limit as u64 };
                Err(Error::layer(label, problem))
            }
        }
    }

    /// Writes the metadata and the manifest. `config` is the run configuration's JSON.
    ///
    /// # Errors
    /// The work directory cannot be written, or the image as a whole is larger than the format allows.
    pub fn finish(self, config: Vec<u8>) -> Result<Converted, Error> {
        let segment_lengths: Vec<u64> = self
            .segments
            .iter()
            .map(|segment| segment.as_ref().map_or(0, |(segment, _)| segment.raw_len))
            .collect();
        let image = erofs::Image::plan(&self.tree, &self.xattrs, &segment_lengths)?;
        let failed = || Error::io(format!("writing the metadata in {}", self.options.work_dir.display()));
        let mut writer = SegmentWriter::new(&self.options.work_dir, self.options.threads).map_err(failed())?;
        if image.write(&mut writer).is_err() {
            return Err(failed()(writer.into_error()));
        }
        let metadata = writer.finish(SegmentKind::Metadata).map_err(failed())?;
        let inodes = image.inodes();
        let metadata_bytes = metadata.0.raw_len;
        let layers = self.segments.len() as u64;
        let all = std::iter::once(metadata).chain(self.segments.into_iter().flatten());
        let (segments, packs): (Vec<Segment>, Vec<Pack>) = all.unzip();
        let manifest = Manifest { config, segments };
        let manifest_bytes = manifest.encode();
        Manifest::decode(&manifest_bytes).map_err(|error| Error::Malformed {
            document: "the function image".to_owned(),
            reason: error.to_string(),
        })?;
        let stats = Stats {
            layers,
            entries: self.totals.entries,
            inodes,
            metadata_bytes,
            image_bytes: manifest.image_bytes(),
            stored_bytes: manifest.stored_bytes(),
            xattrs_left_out: self.xattrs.left_out(),
        };
        let digest = Digest::of(&manifest_bytes);
        Ok(Converted { manifest, manifest_bytes, digest, packs: each_once(packs), stats })
    }
}

/// Takes one layer's entries. A layer that is dropped instead of finished spoils the builder's image.
#[derive(Debug)]
pub struct LayerBuilder<'a> {
    layer: Layer<'a>,
}

impl LayerBuilder<'_> {
    /// Ends the layer: its segment is complete.
    ///
    /// # Errors
    /// The work directory cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        self.layer.finish()
    }
}

impl LayerSink for LayerBuilder<'_> {
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        self.layer.entry(entry, data)
    }
}

/// Drops packs whose digest came before: two layers with the same file data.
fn each_once(packs: Vec<Pack>) -> Vec<Pack> {
    let mut kept: Vec<Pack> = Vec::new();
    for pack in packs {
        if kept.iter().all(|other| other.digest != pack.digest) {
            kept.push(pack);
        }
    }
    kept
}
