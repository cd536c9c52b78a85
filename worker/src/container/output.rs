//! What containers print, kept in bounded files.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// The most bytes of a container's output that are kept. Older output goes first.
pub const OUTPUT_LIMIT: u64 = 1 << 20;

const CHUNK: usize = 16 * 1024;

/// Where a container's output is kept: the newer half in the file itself, the older in one beside it that ends
/// in `.1`.
#[derive(Debug, Clone)]
pub(super) struct OutputFile {
    path: PathBuf,
}

impl OutputFile {
    /// Starts keeping output at `path`, afresh. Returns the pipe to write it to and the task that empties the
    /// pipe until all its writers are gone.
    pub(super) fn create(path: &Path) -> io::Result<(Self, PipeWriter, JoinHandle<()>)> {
        let output = Self { path: path.to_owned() };
        match std::fs::remove_file(output.older()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let log = RotatingLog::create(output.clone())?;
        let (reader, writer) = io::pipe()?;
        let reader = pipe::Receiver::from_owned_fd(reader.into())?;
        Ok((output, writer, tokio::spawn(drain(reader, log))))
    }

    /// The last `most` bytes that are kept. Blocking, but brief.
    pub(super) fn tail(&self, most: u64) -> Vec<u8> {
        let mut newer = read_tail(&self.path, most);
        let mut tail = read_tail(&self.older(), most - newer.len() as u64);
        tail.append(&mut newer);
        tail
    }

    fn older(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        name.into()
    }
}

/// A file that has not been written yet, or is gone, has no last bytes.
fn read_tail(path: &Path, most: u64) -> Vec<u8> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}

/// Copies until the end. When the file cannot be written, the pipe is still emptied, so that the container does
/// not stand still.
async fn drain(mut from: pipe::Receiver, mut log: RotatingLog) {
    let mut buffer = vec![0; CHUNK];
    let mut broken = false;
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..length).filter(|_| !broken) else { continue };
        if let Err(error) = log.write(bytes) {
            tracing::warn!(%error, path = %log.output.path.display(), "a container's output is lost");
            broken = true;
        }
    }
}

struct RotatingLog {
    output: OutputFile,
    file: File,
    written: u64,
}

impl RotatingLog {
    fn create(output: OutputFile) -> io::Result<Self> {
        let file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&output.path)?;
        Ok(Self { output, file, written: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.written + bytes.len() as u64 > OUTPUT_LIMIT / 2 {
            std::fs::rename(&self.output.path, self.output.older())?;
            *self = Self::create(self.output.clone())?;
        }
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_bytes_are_kept_and_no_more_than_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output");
        let (output, mut writer, drained) = OutputFile::create(&path).unwrap();
        assert_eq!(output.tail(100), b"");
        let line = |number: u32| format!("{number:>15}\n");
        let lines = 200_000; // three times the limit
        tokio::task::spawn_blocking(move || {
            for number in 0..lines {
                writer.write_all(line(number).as_bytes()).unwrap();
            }
        })
        .await
        .unwrap();
        drained.await.unwrap();

        let kept: u64 = [&path, &output.older()].map(|path| path.metadata().unwrap().len()).iter().sum();
        assert!(kept <= OUTPUT_LIMIT && kept > OUTPUT_LIMIT / 2, "{kept}");
        let tail = String::from_utf8(output.tail(OUTPUT_LIMIT)).unwrap();
        assert_eq!(tail.len() as u64, kept);
        let first: u32 = tail.lines().next().unwrap().trim().parse().unwrap();
        let expected: String = (first..lines).map(line).collect();
        assert!(tail == expected, "no gap between the two files");
        assert_eq!(output.tail(16), line(lines - 1).as_bytes());
    }

    #[tokio::test]
    async fn a_new_container_starts_afresh() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output");
        std::fs::write(&path, "old").unwrap();
        std::fs::write(dir.path().join("output.1"), "older").unwrap();
        let (output, writer, drained) = OutputFile::create(&path).unwrap();
        drop(writer);
        drained.await.unwrap();
        assert_eq!(output.tail(100), b"");
    }
}
