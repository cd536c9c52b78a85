//! One layer on its way into the image: checks, whiteouts, file data.

use std::io::Read;

use ft_core::manifest::SegmentKind;

use super::inode::{Attributes, Body, Extent, Extents, FileData, Inode};
use super::names::{Request, check_path, request};
use super::tree::{Directory, LayerNumber, Refusal};
use super::{ImageBuilder, xattrs};
use crate::Error;
use crate::entry::{Entry, EntryKind, Meta, Segment};
use crate::erofs::{BLOCK, ChunkPlan, encode_device};
use crate::error::{EntryProblem, LayerProblem};
use crate::pack::{CopyError, SegmentWriter};

/// The layer that is being read.
#[derive(Debug)]
pub(super) struct Layer<'a> {
    builder: &'a mut ImageBuilder,
    number: LayerNumber,
    label: String,
    /// Made for the first file with data.
    writer: Option<SegmentWriter>,
}

impl<'a> Layer<'a> {
    pub(super) fn new(builder: &'a mut ImageBuilder, number: LayerNumber, label: &str) -> Self {
        Self { builder, number, label: label.to_owned(), writer: None }
    }

    pub(super) fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        self.count_entry()?;
        let fail = |problem| Error::entry(&self.label, &entry.path, problem);
        check_path(&entry.path, "path").map_err(fail)?;
        match request(&entry.path).map_err(fail)? {
            Request::Nothing => Ok(()),
            Request::Whiteout(hidden) => {
                self.changed(entry, |layer| layer.builder.tree.whiteout(&hidden, layer.number))
            }
            Request::Opaque(directory) => {
                self.changed(entry, |layer| layer.builder.tree.opaque(directory, layer.number))
            }
            Request::Put => self.put(entry, data),
        }
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        let segment = match self.writer {
            None => None,
            Some(writer) => {
                let failed = Error::io(format!("writing the pack of layer {}", self.label));
                Some(writer.finish(SegmentKind::Data).map_err(failed)?)
            }
        };
        self.builder.segments.push(segment);
        Ok(())
    }

    fn count_entry(&mut self) -> Result<(), Error> {
        self.builder.totals.entries += 1;
        let limit = self.builder.options.limits.entries;
        // Long paths make directories that have no entries of their own.
        let made = self.builder.tree.inode_count() as u64;
        if self.builder.totals.entries.max(made) > limit {
            let what = "entries and directories on the way to them, together with the layers below it";
            return Err(Error::layer(&self.label, LayerProblem::Limit { what, limit }));
        }
        Ok(())
    }

    /// Changes the tree, and names the entry if the tree refuses.
    fn changed(
        &mut self,
        entry: &Entry,
        change: impl FnOnce(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Error> {
        change(self).map_err(|refusal| {
            let limit = self.builder.options.limits.directory_entries;
            Error::entry(&self.label, &entry.path, explain(refusal, limit))
        })
    }

    fn put(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        let fail = |problem| Error::entry(&self.label, &entry.path, problem);
        let body = match &entry.kind {
            EntryKind::HardLink(target) => {
                check_path(target, "hard link target").map_err(fail)?;
                return self
                    .changed(entry, |layer| layer.builder.tree.hard_link(&entry.path, target, layer.number));
            }
            EntryKind::Directory => Body::Directory(Directory::default()),
            EntryKind::File { size, segments } => Body::File(self.file(entry, *size, segments, data)?),
            EntryKind::Symlink(target) => {
                let limit = self.builder.options.limits.symlink_bytes;
                check_target(target, limit).map_err(fail)?;
                Body::Symlink(target.as_slice().into())
            }
            EntryKind::CharDevice { major, minor } => Body::CharDevice(device(*major, *minor).map_err(fail)?),
            EntryKind::BlockDevice { major, minor } => {
                Body::BlockDevice(device(*major, *minor).map_err(fail)?)
            }
            EntryKind::Fifo => Body::Fifo,
            EntryKind::Socket => Body::Socket,
        };
        let attributes = self.attributes(entry)?;
        self.changed(entry, |layer| {
            layer.builder.tree.put(&entry.path, layer.number, Inode { attributes, body })
        })
    }

    fn attributes(&mut self, entry: &Entry) -> Result<Attributes, Error> {
        let limits = self.builder.options.limits;
        let Meta { mode, uid, gid, mtime_secs, mtime_nanos, ref xattrs } = entry.meta;
        let limit = limits.xattr_bytes.min(u16::MAX.into()); // EROFS has 16 bits for a value's length
        if xattrs::size(xattrs) > limit {
            let problem = EntryProblem::Limit { what: "set of xattrs", limit };
            return Err(Error::entry(&self.label, &entry.path, problem));
        }
        let xattrs = self.builder.xattrs.number(xattrs);
        if self.builder.xattrs.bytes() > limits.total_xattr_bytes {
            let what = "bytes of xattrs, together with the layers below it";
            let problem = LayerProblem::Limit { what, limit: limits.total_xattr_bytes };
            return Err(Error::layer(&self.label, problem));
        }
        Ok(Attributes { mode: mode & 0o7777, uid, gid, mtime_secs, mtime_nanos, xattrs })
    }

    /// Appends a file's data to the layer's segment.
    fn file(
        &mut self,
        entry: &Entry,
        size: u64,
        segments: &[Segment],
        data: &mut dyn Read,
    ) -> Result<FileData, Error> {
        let limit = self.builder.options.limits.file_bytes;
        if size > limit {
            let problem = EntryProblem::Limit { what: "claimed size", limit };
            return Err(Error::entry(&self.label, &entry.path, problem));
        }
        check_segments(size, segments).map_err(|problem| Error::entry(&self.label, &entry.path, problem))?;
        let plan = ChunkPlan::new(size, segments);
        self.count_data(entry, size, &plan)?;
        let mut extents = Vec::new();
        let mut segments = segments.iter().copied().peekable();
        for span in &plan.spans {
            extents.push(Extent {
                file_block: span.start / u64::from(BLOCK),
                blocks: (span.end - span.start) / u64::from(BLOCK),
                segment_block: self.next_block(),
            });
            let mut at = span.start;
            while let Some(segment) = segments.next_if(|segment| segment.offset < span.end) {
                self.count_padding(entry, segment.offset - at)?;
                self.append(entry, |writer| {
                    writer.zeros(segment.offset - at)?;
                    writer.copy(data, segment.len)
                })?;
                self.builder.totals.delivered_bytes += segment.len;
                at = segment.offset + segment.len;
            }
            self.count_padding(entry, span.end.min(size) - at)?;
            self.append(entry, |writer| writer.zeros(span.end - at))?;
        }
        let extents = match extents[..] {
            [] => Extents::None,
            [Extent { file_block: 0, blocks, segment_block }] if blocks == size.div_ceil(BLOCK.into()) => {
                Extents::Whole(segment_block)
            }
            _ => Extents::Some(extents.into()),
        };
        Ok(FileData { size, layer: self.number, chunk_bits: plan.bits, extents })
    }

    /// Counts what a file claims against the limits, before any of it is read.
    fn count_data(&mut self, entry: &Entry, size: u64, plan: &ChunkPlan) -> Result<(), Error> {
        let limits = self.builder.options.limits;
        let totals = &mut self.builder.totals;
        totals.data_bytes += plan.spans.iter().map(|span| span.end - span.start).sum::<u64>();
        totals.chunks += size.div_ceil(1 << plan.bits);
        let what = match () {
            () if totals.data_bytes > limits.data_bytes => "claimed data, together with all before it,",
            () if totals.chunks > limits.chunks => "number of sparse parts, together with all before it,",
            () => return Ok(()),
        };
        let limit = if totals.data_bytes > limits.data_bytes { limits.data_bytes } else { limits.chunks };
        Err(Error::entry(&self.label, &entry.path, EntryProblem::Limit { what, limit }))
    }

    /// Counts part of a hole that is about to be stored as zeros against the limit. Only bytes that were really
    /// there allow for more of it: a claim costs its author nothing.
    fn count_padding(&mut self, entry: &Entry, len: u64) -> Result<(), Error> {
        let limit = self.builder.options.limits.padding_bytes;
        let totals = &mut self.builder.totals;
        totals.padding_bytes += len;
        if totals.padding_bytes > limit.saturating_add(totals.delivered_bytes) {
            return Err(Error::entry(&self.label, &entry.path, EntryProblem::Padding { limit }));
        }
        Ok(())
    }

    /// The block of the segment at which the next file starts; the limit on data keeps it within 32 bits.
    fn next_block(&self) -> u32 {
        let blocks = self.writer.as_ref().map_or(0, SegmentWriter::len) / u64::from(BLOCK);
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    fn append(
        &mut self,
        entry: &Entry,
        write: impl FnOnce(&mut SegmentWriter) -> Result<(), CopyError>,
    ) -> Result<(), Error> {
        let dir = &self.builder.options.work_dir;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => SegmentWriter::new(dir, self.builder.options.threads)
                .map_err(Error::io(format!("making a pack in {}", dir.display())))?,
        };
        match write(&mut writer) {
            Ok(()) => {
                self.writer = Some(writer);
                Ok(())
            }
            Err(CopyError::Stopped) => {
                let what = format!("writing the pack of layer {} in {}", self.label, dir.display());
                Err(Error::io(what)(writer.into_error()))
            }
            Err(CopyError::Read(error)) => {
                let problem = match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => EntryProblem::Truncated,
                    _ => EntryProblem::Read(error),
                };
                Err(Error::entry(&self.label, &entry.path, problem))
            }
        }
    }
}

fn check_target(target: &[u8], limit: u64) -> Result<(), EntryProblem> {
    let what = "symbolic link target";
    match target {
        b"" => Err(EntryProblem::Path { what, reason: "is empty" }),
        _ if target.contains(&0) => Err(EntryProblem::Path { what, reason: "has a NUL byte in it" }),
        _ if target.len() as u64 > limit => Err(EntryProblem::Limit { what, limit }),
        _ => Ok(()),
    }
}

/// As for paths: sources promise it.
fn check_segments(size: u64, segments: &[Segment]) -> Result<(), EntryProblem> {
    let mut at = 0;
    for segment in segments {
        match segment.offset.checked_add(segment.len) {
            Some(end) if segment.offset >= at && segment.len > 0 && end <= size => at = end,
            _ => {
                return Err(EntryProblem::Header("the parts of the sparse file overlap or exceed it".into()));
            }
        }
    }
    Ok(())
}

fn device(major: u32, minor: u32) -> Result<u32, EntryProblem> {
    if major < 1 << 12 && minor < 1 << 20 {
        Ok(encode_device(major, minor))
    } else {
        Err(EntryProblem::Header(format!("it is device {major}:{minor}, but Linux has at most 4095:1048575")))
    }
}

fn explain(refusal: Refusal, directory_limit: u64) -> EntryProblem {
    let path = |reason| EntryProblem::Path { what: "path", reason };
    let target = |reason| EntryProblem::Path { what: "hard link target", reason };
    match refusal {
        Refusal::NotADirectory => {
            path("leads through a symbolic link or another object that is no directory")
        }
        Refusal::DirectoryFull => {
            EntryProblem::Limit { what: "directory's number of entries", limit: directory_limit }
        }
        Refusal::NoTarget => target("does not exist"),
        Refusal::TargetIsDirectory => target("is a directory"),
        Refusal::TargetIsSelf => target("is the entry itself"),
        Refusal::Root => path("is the root of the image, which can only be a directory"),
    }
}
