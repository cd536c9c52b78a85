//! A streaming reader of tar archives: ustar, PAX, GNU and V7, from any [`Read`], in constant memory.
//!
//! It is written for hostile input: checksums are verified, claims are believed only as far as the bytes
//! are there, and whatever can grow has a limit.

mod acl;
mod header;
mod member;
mod pax;
mod sparse;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Seek, SeekFrom};

use self::header::{BLOCK, Header};
use self::pax::Pax;
use crate::Error;
use crate::entry::{Entry, MAX_PATH};
use crate::error::{EntryProblem, LayerProblem, show};
use crate::limits::Limits;

/// Largest extended header or long name, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// Whether an archive must end with its end-of-archive block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndMarker {
    /// It must: nothing else tells a whole archive from one cut between two members.
    Required,
    /// A digest vouches for the whole; some writers leave the block out.
    Optional,
}

/// Reads an archive's members one after the other.
pub(crate) struct TarReader<'a, R> {
    input: R,
    skip: fn(&mut R, u64) -> io::Result<()>,
    label: &'a str,
    limits: Limits,
    end: EndMarker,
    /// Bytes of `input` consumed.
    offset: u64,
    /// Members and extended headers seen.
    headers: u64,
    /// Data of the current member not yet read, and the padding after it.
    data_left: u64,
    padding: u64,
    /// The current member's path, for messages.
    at: Vec<u8>,
    global: Pax,
    /// Why reading data failed.
    failure: Option<Error>,
}

/// Extended headers in front of a member.
#[derive(Default)]
struct Extensions {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<'a, R: Read> TarReader<'a, R> {
    /// Reads the archive `input`, called `label` in messages.
    pub(crate) fn new(input: R, label: &'a str, limits: Limits, end: EndMarker) -> Self {
        Self::with_skip(input, label, limits, end, discard)
    }

    /// The next member, or `None` at the end of the archive. What is left of the former one is skipped.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.skip_rest()?;
        let mut extensions = Extensions { pax: self.global.clone(), ..Extensions::default() };
        let mut extended = false;
        while let Some(header) = self.next_header(extended)? {
            extended = true;
            match header.kind() {
                b'x' | b'X' => {
                    let records = self.extension(&header)?;
                    // A second one replaces the first.
                    extensions.pax = self.global.clone();
                    extensions.pax.apply(&records).map_err(|problem| self.problem(problem))?;
                }
                b'g' => {
                    let records = self.extension(&header)?;
                    self.global.apply_global(&records).map_err(|problem| self.problem(problem))?;
                    extensions.pax = self.global.clone();
                }
                b'L' => extensions.long_name = Some(self.long_text(&header)?),
                b'K' => extensions.long_link = Some(self.long_text(&header)?),
                // A volume's label.
                b'V' => self.extension(&header).map(drop)?,
                _ => return self.member(&header, extensions).map(Some),
            }
        }
        Ok(None)
    }

    /// The current member's data: for a regular file its segments back to back, else nothing.
    pub(crate) fn data(&mut self) -> Data<'_, 'a, R> {
        Data(self)
    }

    /// Why [`Data`] returned an error, told better than an `io::Error` can.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    fn with_skip(
        input: R,
        label: &'a str,
        limits: Limits,
        end: EndMarker,
        skip: fn(&mut R, u64) -> io::Result<()>,
    ) -> Self {
        Self {
            input,
            skip,
            label,
            limits,
            end,
            offset: 0,
            headers: 0,
            data_left: 0,
            padding: 0,
            at: Vec::new(),
            global: Pax::default(),
            failure: None,
        }
    }

    /// Reads the next header. `None` at the archive's end, which must not be right after an extended
    /// header.
    fn next_header(&mut self, extended: bool) -> Result<Option<Header>, Error> {
        let mut block = [0; BLOCK];
        let got = self.fill(&mut block)?;
        if got < BLOCK {
            if got == 0 && !extended && self.end == EndMarker::Optional {
                return Ok(None);
            }
            return Err(self.between(EntryProblem::Truncated));
        }
        let header = Header(block);
        if header.is_zero() {
            return if extended { Err(self.between(EntryProblem::Truncated)) } else { Ok(None) };
        }
        if !header.checksum_is_right() {
            let offset = self.offset - BLOCK as u64;
            if offset == 0 {
                let reason = "its first header's checksum is wrong".to_owned();
                return Err(Error::layer(self.label, LayerProblem::NotATar(reason)));
            }
            return Err(self.between(EntryProblem::Checksum { offset }));
        }
        self.headers += 1;
        if self.headers > self.limits.layer_entries {
            let limit = self.limits.layer_entries;
            return Err(Error::layer(self.label, LayerProblem::Limit { what: "entries", limit }));
        }
        Ok(Some(header))
    }

    /// Makes an entry of a member's header and the extended headers before it.
    fn member(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, Error> {
        // For messages, before the path is known to be good.
        self.at = header.name();
        self.at.truncate(MAX_PATH);
        let result = member::read(self, header, extensions);
        let entry = result.map_err(|problem| match self.failure.take() {
            Some(cause) => cause,
            None => self.problem(problem),
        })?;
        self.at.clone_from(&entry.path);
        Ok(entry)
    }

    /// Reads an extended header's data.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let size = header.size().map_err(|problem| self.between(problem))?;
        if size > MAX_EXTENSION {
            let problem = EntryProblem::Limit { what: "extended header", limit: MAX_EXTENSION };
            return Err(self.between(problem));
        }
        self.begin_data(size);
        let mut data = Vec::new();
        let read = self.data().read_to_end(&mut data);
        read.map_err(|cause| self.failure_or(cause))?;
        self.skip_rest()?;
        Ok(data)
    }

    /// Reads a GNU long name: text that ends with a NUL.
    fn long_text(&mut self, header: &Header) -> Result<Vec<u8>, Error> {
        let mut text = self.extension(header)?;
        text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
        Ok(text)
    }

    /// `size` bytes of data and their padding come next.
    fn begin_data(&mut self, size: u64) {
        self.data_left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        // Not one sum: a claimed size may be near the largest number.
        for part in [std::mem::take(&mut self.data_left), std::mem::take(&mut self.padding)] {
            (self.skip)(&mut self.input, part).map_err(|cause| self.read_error(cause))?;
            self.offset = self.offset.saturating_add(part);
        }
        Ok(())
    }

    /// Reads until `buf` is full or the input ends.
    fn fill(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        let mut got = 0;
        while got < buf.len() {
            match self.input.read(&mut buf[got..]) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.read_error(e)),
            }
        }
        self.offset += got as u64;
        Ok(got)
    }

    /// An error about the current member.
    fn problem(&self, problem: EntryProblem) -> Error {
        Error::entry(self.label, &self.at, problem)
    }

    /// An error about a member whose name is not known yet.
    fn between(&self, problem: EntryProblem) -> Error {
        let entry = match self.headers {
            0 => "no. 1".to_owned(),
            _ => format!("after {}", show(&self.at)),
        };
        Error::Entry { layer: self.label.to_owned(), entry, problem }
    }

    fn read_error(&self, cause: io::Error) -> Error {
        self.problem(match cause.kind() {
            io::ErrorKind::UnexpectedEof => EntryProblem::Truncated,
            _ => EntryProblem::Read(cause),
        })
    }

    fn failure_or(&mut self, cause: io::Error) -> Error {
        self.failure.take().unwrap_or_else(|| self.read_error(cause))
    }
}

impl<'a, R: Read + Seek> TarReader<'a, R> {
    /// Like [`TarReader::new`], but skips data by seeking. Truncated data then goes unnoticed here.
    pub(crate) fn seeking(input: R, label: &'a str, limits: Limits) -> Self {
        Self::with_skip(input, label, limits, EndMarker::Optional, seek_over)
    }

    /// Where the input stands: right after [`TarReader::next_entry`], the start of the member's data.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }
}

fn discard<R: Read>(input: &mut R, len: u64) -> io::Result<()> {
    if io::copy(&mut input.take(len), &mut io::sink())? < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn seek_over<R: Seek>(input: &mut R, len: u64) -> io::Result<()> {
    let len = i64::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    input.seek(SeekFrom::Current(len)).map(drop)
}

/// The data of a [`TarReader`]'s current member.
pub(crate) struct Data<'r, 'a, R>(&'r mut TarReader<'a, R>);

impl<R: Read> Read for Data<'_, '_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let tar = &mut *self.0;
        let want = buf.len().min(usize::try_from(tar.data_left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let cause = match tar.input.read(&mut buf[..want]) {
            Ok(0) => io::ErrorKind::UnexpectedEof.into(),
            Ok(got) => {
                tar.data_left -= got as u64;
                tar.offset += got as u64;
                return Ok(got);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            Err(e) => e,
        };
        let error = tar.read_error(cause);
        let shown = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        tar.failure = Some(error);
        Err(shown)
    }
}
