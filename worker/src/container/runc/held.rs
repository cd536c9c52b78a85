//! A `runc run` and the container that it runs, which go together.

use std::io;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal};
use tokio::process::Child;
use tokio::runtime::Handle;

use super::Program;

/// The process and the container. However this goes out of use, the container is killed and removed;
/// [`Held::release`] waits for that, dropping leaves it to a task.
#[derive(Debug)]
pub(super) struct Held(Option<Parts>);

#[derive(Debug)]
struct Parts {
    program: Program,
    id: String,
    child: Child,
}

impl Held {
    pub(super) fn new(program: Program, id: &str, child: Child) -> Self {
        Self(Some(Parts { program, id: id.to_owned(), child }))
    }

    /// Waits for runc, which ends when the container has. Can be cancelled and called again.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.0 {
            Some(parts) => parts.child.wait().await,
            None => Ok(ExitStatus::default()),
        }
    }

    /// Sends a signal, which runc passes on to the container's process.
    pub(super) fn signal(&self, signal: Signal) {
        // Our child and not waited for yet, so the number is its.
        let number = self.0.as_ref().and_then(|parts| parts.child.id());
        if let Some(runc) = number.and_then(|number| i32::try_from(number).ok()).and_then(Pid::from_raw) {
            let _already_dead = rustix::process::kill_process(runc, signal);
        }
    }

    /// Ends runc and the container if they run, and removes what is left of it.
    pub(super) async fn release(mut self) {
        if let Some(parts) = self.0.take() {
            parts.end().await;
        }
    }
}

impl Parts {
    async fn end(mut self) {
        let _already_dead = self.child.kill().await;
        // runc removes a container that ends by itself.
        if self.program.root.join(&self.id).exists()
            && let Err(error) = self.program.delete(&self.id).await
        {
            tracing::warn!(%error, "a container is left behind");
        }
        super::cgroups::remove(&self.program.root, &self.id).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Without a runtime, dropping the child still kills runc, and the next start removes the container.
        if let (Some(parts), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(parts.end());
        }
    }
}
