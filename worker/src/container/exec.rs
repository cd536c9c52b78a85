//! Commands inside a running container.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::MemfdFlags;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Child;

use super::ContainerError;
use super::spec::check_process;

/// A command to run inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Environment in addition to the container's own.
    pub env: Vec<String>,
    /// The working directory, or the container's.
    pub cwd: Option<String>,
    /// User and group number, or the container's.
    pub user: Option<(u32, u32)>,
    /// What it reads from its stdin.
    pub stdin: Vec<u8>,
    /// How long it may take.
    pub deadline: Duration,
    /// The most bytes of stdout, and of stderr, that are kept; what comes after is dropped.
    pub max_output: usize,
}

impl ExecSpec {
    /// A command with the container's environment, user and directory, a minute of time and 1 MiB of output.
    pub fn new(args: Vec<String>) -> Self {
        Self {
            args,
            env: Vec::new(),
            cwd: None,
            user: None,
            stdin: Vec::new(),
            deadline: Duration::from_secs(60),
            max_output: 1 << 20,
        }
    }

    pub(super) fn check(&self, id: &str) -> Result<(), ContainerError> {
        check_process(&self.args, &self.env, self.cwd.as_deref().unwrap_or("/"))
            .map_err(|reason| ContainerError::Invalid { id: id.to_owned(), reason })
    }

    /// An error about this command.
    pub(super) fn failed(&self, id: &str, cause: impl Into<String>) -> ContainerError {
        let command = self.args.first().cloned().unwrap_or_default();
        ContainerError::Exec { id: id.to_owned(), command, cause: cause.into() }
    }

    /// The error when its time is up.
    pub(super) fn late(&self, id: &str) -> ContainerError {
        ContainerError::Deadline { id: id.to_owned(), what: "a command", after: self.deadline }
    }
}

/// A file in memory that holds `bytes`, to be a process's stdin: unlike a pipe, it needs nobody who feeds it.
pub(super) fn input(bytes: &[u8]) -> std::io::Result<Stdio> {
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    let mut file = File::from(rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit code; 128 + n when signal n killed it.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
    /// Whether some of its output was dropped.
    pub truncated: bool,
}

/// Waits for a child whose stdout and stderr are pipes.
pub(super) async fn collect(child: &mut Child, max_output: usize) -> std::io::Result<ExecOutput> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (status, stdout, stderr) =
        tokio::join!(child.wait(), read_at_most(stdout, max_output), read_at_most(stderr, max_output));
    let truncated = stdout.1 || stderr.1;
    Ok(ExecOutput { code: exit_code(status?), stdout: stdout.0, stderr: stderr.0, truncated })
}

/// The exit code as shells count it.
pub(super) fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

/// Reads to the end and keeps the first `most` bytes; says whether there were more.
async fn read_at_most(from: Option<impl AsyncRead + Unpin>, most: usize) -> (Vec<u8>, bool) {
    let (mut kept, mut truncated) = (Vec::new(), false);
    let Some(mut from) = from else { return (kept, truncated) };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let keep = length.min(most - kept.len());
        kept.extend_from_slice(buffer.get(..keep).unwrap_or_default());
        truncated |= keep < length;
    }
    (kept, truncated)
}

#[cfg(test)]
mod tests {
    use tokio::process::Command;

    use super::*;

    fn sh(script: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    #[tokio::test]
    async fn output_is_cut_and_the_rest_drained() {
        // More than a pipe holds: the command would hang if nobody read on.
        let script = "head -c 300000 /dev/zero; echo wrong >&2; exit 3";
        let output = collect(&mut sh(script), 1000).await.unwrap();
        assert_eq!((output.code, output.stdout.len(), output.truncated), (3, 1000, true));
        assert_eq!(output.stderr, b"wrong\n");
    }

    #[tokio::test]
    async fn a_signal_counts_as_shells_count_it() {
        let output = collect(&mut sh("kill -9 $$"), 1000).await.unwrap();
        assert_eq!((output.code, output.truncated), (137, false));
    }
}
