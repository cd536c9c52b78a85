//! A zip package as one layer, as function platforms take them.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use ::zip::read::ZipFile;
use ::zip::result::{ZipError, ZipResult};
use ::zip::{DateTime, ExtraField, System, ZipArchive};

use crate::Error;
use crate::entry::{Entry, EntryKind, LayerSink, MAX_PATH, Meta};
use crate::error::{EntryProblem, LayerProblem};
use crate::limits::Limits;
use crate::path;
use crate::progress::{Progress, ProgressEvent};

type Package = ZipArchive<BufReader<File>>;

/// Gives `sink` the members of the package, in the order of its directory. Everything belongs to root: zip
/// has no owners to speak of. Members without Unix permissions get 0755 (directories) or 0644; times that are
/// in local time only are taken as UTC, so that the result depends on the package alone.
pub(super) fn read(
    at: &Path,
    label: &str,
    limits: Limits,
    sink: &mut dyn LayerSink,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let file = File::open(at).map_err(Error::io(format!("opening {label}")))?;
    let damaged = |e: ZipError| Error::layer(label, LayerProblem::Package(e.to_string()));
    let mut package = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    check(&mut package, limits).map_err(|problem| Error::layer(label, problem))?;
    for n in 0..package.len() {
        let name = package.name_for_index(n).and_then(Result::ok).unwrap_or_default().into_owned();
        let about = |problem| Error::entry(label, name.as_bytes(), problem);
        let mut member = package.by_index(n).map_err(|e| about(EntryProblem::Header(e.to_string())))?;
        let bytes = member.compressed_size();
        let entry = entry(&mut member).map_err(about)?;
        give(&entry, member, sink).map_err(|failure| match failure {
            Failure::Problem(problem) => about(problem),
            Failure::Sink(error) => error,
        })?;
        progress.report(ProgressEvent::LayerRead { bytes });
    }
    Ok(())
}

/// Refuses what is out of bounds or made to deceive.
fn check(package: &mut Package, limits: Limits) -> Result<(), LayerProblem> {
    let broken = |reason: &str| Err(LayerProblem::Package(reason.to_owned()));
    if package.len() as u64 > limits.layer_entries {
        return Err(LayerProblem::Limit { what: "entries", limit: limits.layer_entries });
    }
    if package.has_duplicate_names() {
        return broken("two of its members have the same name");
    }
    let limit = limits.layer_bytes;
    if package.decompressed_size().is_none_or(|size| size > limit.into()) {
        return Err(LayerProblem::Limit { what: "uncompressed bytes", limit });
    }
    // How the worst bombs are made: all members share one piece of compressed data.
    match package.has_overlapping_files() {
        Ok(false) => Ok(()),
        Ok(true) => broken("its members' data overlap"),
        Err(e) => broken(&e.to_string()),
    }
}

enum Failure {
    Problem(EntryProblem),
    Sink(Error),
}

/// Gives one member to the sink, and checks that its data is as long as the directory says and has the right
/// checksum.
fn give(entry: &Entry, member: impl Read, sink: &mut dyn LayerSink) -> Result<(), Failure> {
    let EntryKind::File { size, .. } = entry.kind else {
        return sink.entry(entry, &mut io::empty()).map_err(Failure::Sink);
    };
    let mut data = Exact { inner: member, left: Some(size), problem: None };
    let given = sink.entry(entry, &mut data);
    if given.is_ok() {
        // The checksum is verified at the very end, to which the sink need not have come.
        let rest = io::copy(&mut data, &mut io::sink());
        rest.map_err(|e| Failure::Problem(data.problem.take().unwrap_or(EntryProblem::Read(e))))?;
    }
    match data.problem {
        Some(problem) => Err(Failure::Problem(problem)),
        None => given.map_err(Failure::Sink),
    }
}

fn entry(member: &mut ZipFile<'_, BufReader<File>>) -> Result<Entry, EntryProblem> {
    const KIND: u32 = 0o170_000;
    // Programs on Unix store names as they are; elsewhere the encoding has to be undone.
    let name = match member.system() {
        System::Unix => member.name_raw().to_vec(),
        _ => decoded(member.name())?,
    };
    let path = path::normalise(&name, "path")?;
    let mode = member.unix_mode();
    let kind = match mode.unwrap_or(0) & KIND {
        _ if member.is_dir() => EntryKind::Directory,
        0o120_000 => EntryKind::Symlink(link_target(member)?),
        0 | 0o100_000 => EntryKind::dense_file(member.size()),
        other => {
            return Err(EntryProblem::Header(format!(
                "a zip package cannot hold files of the kind {other:o}"
            )));
        }
    };
    if path.is_empty() && kind != EntryKind::Directory {
        return Err(EntryProblem::Path { what: "path", reason: "is empty" });
    }
    let default = if kind == EntryKind::Directory { 0o755 } else { 0o644 };
    // Programs that know no permissions leave them all out.
    let mode = mode.map_or(0, |mode| (mode & 0o7777) as u16);
    let mode = if mode == 0 { default } else { mode };
    let meta = Meta { mode, mtime_secs: mtime(member), ..Meta::default() };
    Ok(Entry { path, meta, kind })
}

fn decoded(name: ZipResult<std::borrow::Cow<'_, str>>) -> Result<Vec<u8>, EntryProblem> {
    let name = name.map_err(|e| EntryProblem::Header(format!("its name cannot be read: {e}")))?;
    Ok(name.into_owned().into_bytes())
}

/// A symbolic link's target is its data.
fn link_target(member: &mut ZipFile<'_, BufReader<File>>) -> Result<Vec<u8>, EntryProblem> {
    let mut target = Vec::new();
    member.take(MAX_PATH as u64).read_to_end(&mut target).map_err(EntryProblem::Read)?;
    path::symlink_target(target)
}

/// When the member was modified, in seconds since 1970: the extended timestamp, or else DOS's.
fn mtime(member: &ZipFile<'_, BufReader<File>>) -> i64 {
    let extended = member.extra_data_fields().find_map(|field| match field {
        ExtraField::ExtendedTimestamp(times) => times.mod_time(),
        _ => None,
    });
    match extended {
        // The field is signed, though the library does not know.
        Some(seconds) => seconds.cast_signed().into(),
        None => member.last_modified().filter(DateTime::is_valid).map_or(0, |time| seconds(&time)),
    }
}

/// A DOS date and time as seconds since 1970, taken as UTC.
fn seconds(time: &DateTime) -> i64 {
    // Years that begin in March have the leap day at their end (Hinnant, "chrono-Compatible Low-Level Date
    // Algorithms"); DOS knows 1980 to 2107, so no year is negative.
    let (month, day) = (i64::from(time.month()), i64::from(time.day()));
    let year = i64::from(time.year()) - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let (hour, minute) = (i64::from(time.hour()), i64::from(time.minute()));
    ((days * 24 + hour) * 60 + minute) * 60 + i64::from(time.second())
}

/// Reads a member's data and holds it to the length that the directory gives.
struct Exact<R> {
    inner: R,
    /// Bytes still to come; `None` after the end has been seen.
    left: Option<u64>,
    problem: Option<EntryProblem>,
}

impl<R: Read> Exact<R> {
    fn step(&mut self, left: u64, buf: &mut [u8]) -> Result<usize, EntryProblem> {
        if left == 0 {
            self.left = None;
            return match self.inner.read(&mut [0]).map_err(EntryProblem::Read)? {
                0 => Ok(0),
                _ => Err(EntryProblem::Header("it is longer than the package's directory says".into())),
            };
        }
        let want = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match self.inner.read(&mut buf[..want]).map_err(EntryProblem::Read)? {
            0 => Err(EntryProblem::Truncated),
            got => {
                self.left = Some(left - got as u64);
                Ok(got)
            }
        }
    }
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.left.filter(|_| !buf.is_empty()) else { return Ok(0) };
        self.step(left, buf).map_err(|problem| {
            let shown = io::Error::other(problem.to_string());
            self.left = None;
            self.problem = Some(problem);
            shown
        })
    }
}
