//! A container's supervisor and its place on the host, which go together.

use std::io;
use std::path::Path;
use std::process::ExitStatus;

use tokio::process::Child;
use tokio::runtime::Handle;

use super::place::Place;

/// The supervisor and the place. However this goes out of use, the container is killed and its place given up;
/// [`Held::release`] waits for that, dropping leaves it to a task.
#[derive(Debug)]
pub(super) struct Held(Option<Parts>);

#[derive(Debug)]
struct Parts {
    child: Child,
    place: Place,
}

impl Held {
    pub(super) fn new(child: Child, place: Place) -> Self {
        Self(Some(Parts { child, place }))
    }

    /// Puts the supervisor, and so all that it starts, into the container's cgroup.
    pub(super) fn admit(&self) -> io::Result<()> {
        let Some(parts) = &self.0 else { return Ok(()) };
        parts.child.id().map_or(Ok(()), |pid| parts.place.admit(pid))
    }

    /// The container's cgroup.
    pub(super) fn cgroup(&self) -> Option<&Path> {
        self.0.as_ref().and_then(|parts| parts.place.cgroup())
    }

    /// Waits for the supervisor, which ends when the container has. Can be cancelled and called again.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.0 {
            Some(parts) => parts.child.wait().await,
            None => Ok(ExitStatus::default()),
        }
    }

    /// Kills the supervisor, and by its death PID 1.
    pub(super) fn kill(&mut self) {
        if let Some(parts) = &mut self.0 {
            let _already_dead = parts.child.start_kill();
        }
    }

    /// Ends the container if it runs, and gives up its place. Returns whether memory did not suffice.
    pub(super) async fn release(mut self) -> bool {
        match self.0.take() {
            Some(parts) => parts.end().await,
            None => false,
        }
    }
}

impl Parts {
    async fn end(mut self) -> bool {
        let _already_dead = self.child.kill().await;
        let out_of_memory = self.place.out_of_memory();
        self.place.remove().await;
        out_of_memory
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Without a runtime, dropping the child still kills it.
        if let (Some(parts), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(parts.end());
        }
    }
}
