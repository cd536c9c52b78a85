//! How to start this binary again as a sandbox helper.

use std::ffi::OsString;
use std::path::PathBuf;

use tokio::process::Command;

/// The hidden subcommand that [`sandbox_main`](super::sandbox_main) serves.
const SUBCOMMAND: &str = "__sandbox";

/// A program that calls [`sandbox_main`](super::sandbox_main) with the arguments behind `__sandbox`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    program: PathBuf,
}

impl Helper {
    /// This very binary, even when its file was replaced since it started.
    pub fn current_exe() -> Self {
        Self { program: "/proc/self/exe".into() }
    }

    /// Another binary.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// The helper with these arguments, an empty environment and a process group of its own, so that Ctrl-C at
    /// the terminal reaches the worker and not its containers.
    pub(super) fn command<A: Into<OsString>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0("ft").arg(SUBCOMMAND).args(args.into_iter().map(Into::into));
        command.env_clear().process_group(0).kill_on_drop(true);
        command
    }
}
