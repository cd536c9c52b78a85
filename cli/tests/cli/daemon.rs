//! A program that goes on until it is asked to end.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::run::{wait, wait_for};

/// A process with its output in a file; killed when it goes out of scope.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` with its stderr in the file `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self { child: command.spawn().expect("ft starts"), log: log.to_owned() }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has said `text`.
    pub(crate) fn wait_until_it_says(&mut self, text: &str) {
        let Self { child, log } = self;
        let said = || std::fs::read_to_string(&*log).unwrap_or_default();
        wait_for(text, said, || {
            let ended = child.try_wait().expect("the process is ours");
            let heard = said().contains(text);
            assert!(heard || ended.is_none(), "ended ({ended:?}) before it said {text:?}:\n{}", said());
            heard.then_some(())
        });
    }

    /// Sends a signal, unless it has ended: its number may be another's by now.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.child.try_wait().expect("the process is ours").is_none() {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
            kill_process(pid, signal).expect("the process is ours");
        }
    }

    /// Waits for its end; whether it came by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        wait(&mut self.child).is_some()
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        wait(&mut self.child).unwrap_or_else(|| panic!("it did not end; it said:\n{}", self.said()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has usually ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
