//! One look into a running container: does a port answer?

use std::time::Duration;

use super::{Check, Container, ExecSpec, Helper};

/// How long a single look may take.
const ONE_CHECK: Duration = Duration::from_secs(10);

/// How to get at the namespaces of a running container.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    pub(super) helper: Helper,
    /// The host's number of the container's PID 1.
    pub(super) pid: u32,
    /// The inode number of its PID namespace, which tells it from a later process with the same number; 0, which
    /// none has, if it has ended.
    pub(super) pid_namespace: u64,
    /// Whether it has a user namespace of its own.
    pub(super) user_namespace: bool,
}

/// The inode number of a process's PID namespace, if there is such a process.
pub(super) fn pid_namespace_of(pid: u32) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|found| found.ino())
}

impl Inside {
    /// The arguments by which the helper knows whose namespaces to join.
    pub(super) fn arguments(&self) -> Vec<String> {
        let user = if self.user_namespace { "new-user" } else { "same-user" };
        vec![self.pid.to_string(), self.pid_namespace.to_string(), user.to_owned()]
    }
}

/// Looks once, for 10 s at most.
pub(super) async fn passes(container: &Container, check: &Check, left: Duration) -> Result<(), String> {
    let deadline = left.min(ONE_CHECK);
    let arguments = match check {
        Check::Exec { args } => {
            let spec = ExecSpec { deadline, max_output: 4096, ..ExecSpec::new(args.clone()) };
            return match container.exec(&spec).await {
                Ok(output) if output.code == 0 => Ok(()),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                    Err(format!("the command ended with {}: {said}", output.code))
                }
                Err(error) => Err(error.to_string()),
            };
        }
        Check::Tcp { port } => vec!["tcp".to_owned(), port.to_string()],
        Check::Http { port, path } => vec!["http".to_owned(), port.to_string(), path.clone()],
    };
    let inside = container.inside();
    let own = [vec!["check".to_owned()], inside.arguments(), arguments].concat();
    let run = inside.helper.command(own).stdin(std::process::Stdio::null()).output();
    match tokio::time::timeout(deadline, run).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Ok(Err(error)) => Err(format!("cannot run the helper: {error}")),
        Err(_) => Err(format!("no answer within {deadline:?}")),
    }
}
