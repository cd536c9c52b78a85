//! What can go wrong with containers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Exit;

/// A container could not be started, used or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The specification cannot be run.
    #[error("container {id:?}: {reason}")]
    Invalid {
        /// The container's id.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The runtime could not start the container's process.
    #[error("container {id}: {cause}")]
    Start {
        /// The container's id.
        id: String,
        /// What the runtime says.
        cause: String,
    },
    /// A command could not be run inside the container.
    #[error("cannot run {command:?} in container {id}: {cause}")]
    Exec {
        /// The container's id.
        id: String,
        /// The command's first word.
        command: String,
        /// What the runtime says.
        cause: String,
    },
    /// Something took too long and was given up.
    #[error("container {id}: {what} took longer than {after:?}")]
    Deadline {
        /// The container's id.
        id: String,
        /// What took so long.
        what: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The container has ended.
    #[error("container {id} has ended with exit code {code}")]
    Ended {
        /// The container's id.
        id: String,
        /// Its exit code.
        code: i32,
    },
    /// A file or program that a runtime needs.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No runtime works on this host.
    #[error("no container runtime works here: {0}")]
    NoRuntime(String),
}

impl ContainerError {
    /// For `map_err` on file operations.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

/// Why a container did not become ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// Its process ended first.
    #[error("the process ended before it was ready: {0}")]
    Ended(Exit),
    /// The deadline passed.
    #[error("not ready within {after:?}; the last check said: {last}")]
    Deadline {
        /// The deadline.
        after: Duration,
        /// Why the last check failed.
        last: String,
    },
}
