//! Helpers for the tests of sources.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::Error;
use crate::entry::{Entry, LayerSink};

/// Keeps every entry and its data.
#[derive(Default)]
pub(crate) struct Collect(pub(crate) Vec<(Entry, Vec<u8>)>);

impl LayerSink for Collect {
    fn entry(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).map_err(Error::io("reading an entry"))?;
        self.0.push((entry.clone(), bytes));
        Ok(())
    }
}

impl Collect {
    /// The entry at `path`.
    pub(crate) fn at(&self, path: impl AsRef<[u8]>) -> &(Entry, Vec<u8>) {
        let path = path.as_ref();
        let found = self.0.iter().find(|(entry, _)| entry.path == path);
        found.unwrap_or_else(|| panic!("no entry {}", path.escape_ascii()))
    }

    /// All paths, in order, for people.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.0.iter().map(|(entry, _)| String::from_utf8_lossy(&entry.path).into_owned()).collect()
    }
}

/// `data` as one gzip member.
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// `data` as one zstd frame with a checksum, as the reference implementation writes it.
pub(crate) fn zstd(data: &[u8]) -> Vec<u8> {
    pipe("zstd", &["-q", "-c"], data)
}

/// What a program makes of `input`.
pub(crate) fn pipe(program: &str, args: &[&str], input: &[u8]) -> Vec<u8> {
    let spawned = Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|e| panic!("{program}: {e}; `cargo xtask test` installs it"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program} {args:?}");
    output.stdout
}
