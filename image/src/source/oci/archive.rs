//! Files inside a tar archive, read in any order: `oci-archive:` and `docker-archive:`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Files;
use crate::Error;
use crate::entry::EntryKind;
use crate::error::{LayerProblem, show};
use crate::limits::Limits;
use crate::path;
use crate::source::decode::{self, Compression};
use crate::source::verify::{Expect, Stage, Verified};
use crate::tar::TarReader;

/// Most members of an archive: an image has a few files for each layer.
const MAX_MEMBERS: u64 = 100_000;

/// A tar archive whose members have been looked up once.
pub(in crate::source) struct Archive {
    file: File,
    members: BTreeMap<Vec<u8>, Member>,
    place: String,
}

enum Member {
    /// Where its bytes are.
    File { offset: u64, len: u64 },
    /// It stands for the member at this path (old `docker save` links equal layers).
    Link(Vec<u8>),
}

impl Archive {
    /// Looks up the members of the archive at `path`. One that is compressed as a whole is unpacked into a
    /// nameless temporary file first: there is no seeking in it otherwise.
    pub(in crate::source) fn open(path: &Path, limits: Limits) -> Result<Self, Error> {
        let place = path.display().to_string();
        let mut file = File::open(path).map_err(Error::io(format!("opening {place}")))?;
        let mut start = Vec::with_capacity(6);
        let peeked = file.by_ref().take(6).read_to_end(&mut start);
        peeked.and_then(|_| file.rewind()).map_err(Error::io(format!("reading {place}")))?;
        if Compression::of(&start) != Ok(Compression::None) {
            file = unpack(file, &place, limits)?;
        }
        let len = file.metadata().map_err(Error::io(format!("reading {place}")))?.len();
        let limits = Limits { layer_entries: MAX_MEMBERS, ..limits };
        let mut tar = TarReader::seeking(BufReader::new(&file), &place, limits);
        let mut members = BTreeMap::new();
        while let Some(entry) = tar.next_entry()? {
            if let Some(member) = Member::of(&entry.path, entry.kind, tar.offset(), len, &place)? {
                members.insert(entry.path, member);
            }
        }
        drop(tar);
        Ok(Self { file, members, place })
    }

    /// Bytes of the member `name`, if there is one.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.find(name).ok().map(|(_, len)| len)
    }

    /// Where the member `name` is: offset and length.
    fn find(&self, name: &str) -> Result<(u64, u64), Error> {
        let mut at = path::normalise(name.as_bytes(), "name")
            .map_err(|problem| self.malformed(format!("its member {name:?}: {problem}")))?;
        // A link to a link to … ends somewhere, or it is a circle.
        for _ in 0..8 {
            match self.members.get(&at) {
                Some(Member::File { offset, len }) => return Ok((*offset, *len)),
                Some(Member::Link(target)) => at.clone_from(target),
                None => break,
            }
        }
        Err(self.malformed(format!("it has no member {name}")))
    }

    fn malformed(&self, reason: String) -> Error {
        Error::Malformed { document: self.place.clone(), reason }
    }
}

impl Member {
    fn of(name: &[u8], kind: EntryKind, offset: u64, len: u64, place: &str) -> Result<Option<Self>, Error> {
        let malformed = |reason: String| Error::Malformed { document: place.to_owned(), reason };
        Ok(match kind {
            EntryKind::File { size, segments } => {
                if segments.iter().map(|part| part.len).sum::<u64>() != size {
                    return Err(malformed(format!("its member {} is sparse", show(name))));
                }
                if offset.checked_add(size).is_none_or(|end| end > len) {
                    return Err(malformed(format!("it ends in the middle of its member {}", show(name))));
                }
                Some(Self::File { offset, len: size })
            }
            EntryKind::HardLink(target) => Some(Self::Link(target)),
            EntryKind::Symlink(target) => {
                // `../other/layer.tar`, seen from the member's folder.
                let folder = name.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &name[..at]);
                resolve(folder, &target).map(Self::Link)
            }
            _ => None,
        })
    }
}

/// A relative link's target, or `None` where it leaves the archive.
fn resolve(folder: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut names: Vec<&[u8]> = folder.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    path::normalise(&names.join(&b'/'), "link").ok()
}

fn unpack(file: File, place: &str, limits: Limits) -> Result<File, Error> {
    let broken = |e: io::Error| Error::layer(place, LayerProblem::Compression(e.to_string()));
    let plain = decode::decoder(BufReader::with_capacity(256 << 10, file)).map_err(broken)?;
    let mut plain = Verified::new(plain, Stage::Unpacked { limit: limits.layer_bytes }, Expect::default());
    let mut unpacked = tempfile::tempfile().map_err(Error::io("making a temporary file"))?;
    match io::copy(&mut plain, &mut unpacked) {
        Ok(_) => {}
        Err(e) => {
            return Err(match plain.take_fault() {
                Some(fault) => Error::layer(place, fault),
                None => Error::io(format!("unpacking {place} into a temporary file"))(e),
            });
        }
    }
    unpacked.rewind().map_err(Error::io("reading a temporary file"))?;
    Ok(unpacked)
}

impl Files for Archive {
    fn open(&self, name: &str) -> Result<Box<dyn Read + '_>, Error> {
        let (offset, left) = self.find(name)?;
        Ok(Box::new(FileRange { file: &self.file, offset, left }))
    }
}

/// Part of a file, read without moving the file's position, so that several can be read at once.
struct FileRange<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for FileRange<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.file.read_at(&mut buf[..want], self.offset)?;
        self.offset += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}
