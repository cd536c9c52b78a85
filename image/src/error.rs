//! What can go wrong when a source becomes a function image.

use std::io;

use ft_core::Digest;

/// A conversion, or one of its steps, failed. The text tells everything, causes included; so there is no
/// chain of `source`s to walk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The SOURCE argument is not one.
    #[error("{text:?} is not a source: {reason}")]
    NotASource {
        /// What was given.
        text: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A file or directory could not be read or written.
    #[error("{what}: {cause}")]
    Io {
        /// What was being done, and with which file.
        what: String,
        /// The system's answer.
        cause: io::Error,
    },
    /// An index, manifest or configuration is not what its format says.
    #[error("{document}: {reason}")]
    Malformed {
        /// Which document: its file or digest.
        document: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The source has no such image, or several to choose from.
    #[error("{place} has no image {wanted}; it has: {offered}")]
    NoSuchImage {
        /// The layout or archive.
        place: String,
        /// What was asked for.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// A registry refused, failed or could not be reached.
    #[error("{reference}: {cause}")]
    Registry {
        /// The image's reference.
        reference: String,
        /// The registry client's error.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The image and the user's wishes do not add up to something that can be run.
    #[error("run configuration: {0}")]
    RunConfig(String),
    /// A layer as a whole is unusable.
    #[error("layer {layer}: {problem}")]
    Layer {
        /// The layer's label.
        layer: String,
        /// What is wrong.
        problem: LayerProblem,
    },
    /// One entry of a layer is unusable.
    #[error("layer {layer}, entry {entry}: {problem}")]
    Entry {
        /// The layer's label.
        layer: String,
        /// The entry's path, as [`show`] writes it.
        entry: String,
        /// What is wrong.
        problem: EntryProblem,
    },
}

/// What is wrong with a layer.
#[derive(Debug, thiserror::Error)]
pub enum LayerProblem {
    /// Its stored bytes are not those that its digest names.
    #[error("its bytes have the digest {actual}, not {expected}: the copy is damaged or was tampered with")]
    WrongDigest {
        /// The digest by which it was named.
        expected: Digest,
        /// The digest of what was read.
        actual: Digest,
    },
    /// Its uncompressed bytes are not those that the image's configuration names.
    #[error("its uncompressed bytes have the digest {actual}, the image's configuration says {expected}")]
    WrongDiffId {
        /// The configuration's diff_id.
        expected: Digest,
        /// The digest of what was unpacked.
        actual: Digest,
    },
    /// Fewer or more stored bytes than announced.
    #[error("it has {actual} bytes, its manifest says {expected}")]
    WrongSize {
        /// Bytes that the manifest announces.
        expected: u64,
        /// Bytes found.
        actual: u64,
    },
    /// It is in no form that is understood.
    #[error("it is not a tar archive ({0})")]
    NotATar(String),
    /// The compression is unknown, or the compressed data is damaged.
    #[error("the compressed data is damaged or in no form that is known: {0}")]
    Compression(String),
    /// It is no zip package, or one that is damaged or made to deceive.
    #[error("it is not a sound zip package: {0}")]
    Package(String),
    /// It goes beyond a limit.
    #[error("it has more than {limit} {what}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// How much of it is allowed.
        limit: u64,
    },
    /// Reading it failed.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
}

/// What is wrong with an entry.
#[derive(Debug, thiserror::Error)]
pub enum EntryProblem {
    /// The archive ends within it.
    #[error("the archive ends in the middle of it")]
    Truncated,
    /// Its header's checksum is wrong.
    #[error("its header's checksum is wrong: the archive is damaged at byte {offset}")]
    Checksum {
        /// Where its header starts in the uncompressed archive.
        offset: u64,
    },
    /// A field of its header or extended header cannot be.
    #[error("{0}")]
    Header(String),
    /// Its path, or the path it links to, leaves the image or cannot exist.
    #[error("its {what} {reason}")]
    Path {
        /// Which path: `path` or `hard link target`.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It goes beyond a limit.
    #[error("its {what} is larger than {limit}")]
    Limit {
        /// What is measured.
        what: &'static str,
        /// The largest allowed.
        limit: u64,
    },
    /// Its holes are too many and too small for the size of the file.
    #[error(
        "its data is too scattered: stored, the zeros between its parts, with those of the files before it, \
         would be over {limit} bytes more than all data so far"
    )]
    Padding {
        /// By how many bytes zeros may outweigh data.
        limit: u64,
    },
    /// The layer is damaged where the entry's data is.
    #[error("{0}")]
    Layer(LayerProblem),
    /// It changed while it was being read.
    #[error("it changed while it was being read: nothing may write to a source during conversion")]
    Changed,
    /// Reading it failed.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
}

impl Error {
    /// An [`Error::Io`] that says what was being done: for `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }

    /// An [`Error::Entry`] about the entry at `path`.
    pub(crate) fn entry(layer: &str, path: &[u8], problem: EntryProblem) -> Self {
        Self::Entry { layer: layer.to_owned(), entry: show(path), problem }
    }

    /// An [`Error::Layer`].
    pub(crate) fn layer(layer: &str, problem: LayerProblem) -> Self {
        Self::Layer { layer: layer.to_owned(), problem }
    }
}

/// A path of any bytes for people: UTF-8 as it is, other bytes and control characters as `\xNN`, cut after
/// 200 characters; the root as `/`.
pub fn show(path: &[u8]) -> String {
    const LONGEST: usize = 200;
    if path.is_empty() {
        return "/".to_owned();
    }
    let mut shown = String::new();
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                shown.extend(c.escape_default());
            } else {
                shown.push(c);
            }
        }
        shown.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    match shown.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}… ({} bytes)", &shown[..cut], path.len()),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::show;

    #[test]
    fn paths_are_shown_safely() {
        assert_eq!(show(b""), "/");
        assert_eq!(show("usr/bin/é".as_bytes()), "usr/bin/é");
        assert_eq!(show(b"a\xff\n"), "a\\xff\\n");
        assert_eq!(show(&[b'x'; 300]), format!("{}… (300 bytes)", "x".repeat(200)));
    }
}
