//! Running `ft` to its end.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Whatever is waited for happens within this time or never.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
/// How often a condition of another process is looked at.
const POLL: Duration = Duration::from_millis(10);

/// The `ft` to test: `cargo xtask test` names the release build.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("FT_BIN").map_or_else(|| env!("CARGO_BIN_EXE_ft").into(), PathBuf::from)
}

/// `ft ARGS`, untouched by the variables of whoever runs the tests.
pub(crate) fn ft(args: &[&str]) -> Command {
    without_variables(Command::new(binary()), args)
}

/// `command ARGS` without `FT_*` variables.
pub(crate) fn without_variables(mut command: Command, args: &[&str]) -> Command {
    command.args(args);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FT_")) {
        command.env_remove(name);
    }
    command
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Run {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Runs `command`, which ends by itself in time.
    pub(crate) fn of(command: &mut Command) -> Self {
        let files = [tempfile::tempfile(), tempfile::tempfile()].map(|file| file.expect("a file"));
        let [stdout, stderr] = &files;
        command.stdin(Stdio::null()).stdout(stdout.try_clone().expect("a file"));
        command.stderr(stderr.try_clone().expect("a file"));
        let mut child = command.spawn().expect("the program starts");
        let status = wait(&mut child);
        let [stdout, stderr] = files.map(text);
        Self {
            status: status.unwrap_or_else(|| panic!("no end: {command:?}\n{stdout}{stderr}")),
            stdout,
            stderr,
        }
    }

    /// The exit code; a program that was ended by a signal panics here.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by signal {:?}: {self:?}", self.status.signal()))
    }

    /// The program succeeded.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code(), 0, "{self:?}");
        self
    }

    /// The program failed with this exit code, wrote no result, and its error mentions `word`.
    pub(crate) fn fails(self, code: i32, word: &str) -> Self {
        assert_eq!(self.code(), code, "{self:?}");
        assert!(self.stdout.is_empty() && self.stderr.contains(word), "expected {word:?} in {self:?}");
        self
    }

    /// The lines of stdout, each parsed as JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The one line of stdout, parsed as JSON.
    pub(crate) fn json(&self) -> Value {
        let mut lines = self.lines();
        assert_eq!(lines.len(), 1, "{self:?}");
        lines.remove(0)
    }
}

/// Waits until the process ends; kills it and gives nothing if it does not in time.
pub(crate) fn wait(child: &mut Child) -> Option<ExitStatus> {
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().expect("the process is ours") {
            return Some(status);
        }
        std::thread::sleep(POLL);
    }
    child.kill().expect("the process is ours");
    child.wait().expect("the process is ours");
    None
}

/// Looks until `condition` gives something; panics with `state` when it does not in time.
pub(crate) fn wait_for<T>(
    what: &str,
    state: impl Fn() -> String,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < end, "waited too long for {what}\n{}", state());
        std::thread::sleep(POLL);
    }
}

fn text(mut file: File) -> String {
    let mut text = String::new();
    file.rewind().expect("a file");
    file.read_to_string(&mut text).expect("output is UTF-8");
    text
}
