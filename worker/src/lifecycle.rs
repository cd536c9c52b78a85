//! The containers on this VM, from the command to start one to its end.
//!
//! ```text
//! StartContainer ─► image there ─► MOUNTED ─► STARTED ─► READY ─► STOPPED (ended, or told to)
//!                        └───────────┴──────────┴─► FAILED (before it was ready)
//! ```
//! Each container is one task, which takes everything down again in reverse, whatever happened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use ft_core::Digest;
use ft_proto::v1::{self, ContainerState};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::container::{Container, ExecOutput, ExecSpec, Network, Runtime};
use crate::images::Images;
use crate::options::WorkerLimits;
use crate::outbox::Outbox;
use crate::root::Roots;

mod life;

use life::Life;

/// Ended containers that are remembered, so that a repeated command does not start one again.
const REMEMBERED: usize = 1024;

/// What containers are made with.
pub(crate) struct Workshop {
    pub(crate) images: Arc<Images>,
    pub(crate) roots: Roots,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) network: Network,
    pub(crate) limits: WorkerLimits,
    pub(crate) outbox: Arc<Outbox>,
    /// Where containers have their directories.
    pub(crate) dir: PathBuf,
}

/// The containers on this VM.
pub(crate) struct Containers {
    workshop: Arc<Workshop>,
    known: Arc<Mutex<BTreeMap<String, Known>>>,
    tasks: TaskTracker,
}

/// A container that was started, and may have ended.
struct Known {
    number: u64,
    orders: v1::StartContainer,
    last: v1::ContainerReport,
    stop: CancellationToken,
    /// Set once its process runs.
    container: Arc<OnceLock<Arc<Container>>>,
}

impl Known {
    fn has_ended(&self) -> bool {
        matches!(self.last.state(), ContainerState::Failed | ContainerState::Stopped)
    }
}

/// Why a command about a container cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("{field} {value:?} is not valid: {cause}")]
    Invalid { field: &'static str, value: String, cause: String },
    #[error("there is no container {0} here")]
    Unknown(String),
    #[error("container {0} does not run yet")]
    NotRunning(String),
    #[error(transparent)]
    Container(#[from] crate::container::ContainerError),
}

impl Containers {
    pub(crate) fn new(workshop: Workshop) -> Self {
        Self { workshop: Arc::new(workshop), known: Arc::default(), tasks: TaskTracker::new() }
    }

    /// Starts a container; a known one only reports again.
    pub(crate) fn start(&self, orders: v1::StartContainer) -> Result<(), CommandError> {
        let image: Digest = orders.image.parse().map_err(|error: ft_core::digest::ParseDigestError| {
            CommandError::Invalid { field: "image", value: orders.image.clone(), cause: error.to_string() }
        })?;
        check_id(&orders.container)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&orders.container) {
            self.workshop.outbox.push(v1::report::Report::Container(known.last.clone()));
            return Ok(());
        }
        forget_oldest(&mut known);
        let stop = CancellationToken::new();
        let container = Arc::<OnceLock<_>>::default();
        let last = v1::ContainerReport { container: orders.container.clone(), ..Default::default() };
        let number = known.values().map(|known| known.number + 1).max().unwrap_or(0);
        let entry = Known {
            number,
            orders: orders.clone(),
            last,
            stop: stop.clone(),
            container: Arc::clone(&container),
        };
        known.insert(orders.container.clone(), entry);
        drop(known);
        let life = Life {
            workshop: Arc::clone(&self.workshop),
            known: Arc::clone(&self.known),
            orders,
            image,
            stop,
            container,
            since: Instant::now(),
        };
        self.tasks.spawn(life.run());
        Ok(())
    }

    /// Tells a container to end; one that has ended, or was never here, is fine.
    pub(crate) fn stop(&self, container: &str) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(container) {
            Some(known) if known.has_ended() => {
                self.workshop.outbox.push(v1::report::Report::Container(known.last.clone()));
            }
            Some(known) => known.stop.cancel(),
            None => self.workshop.outbox.push(v1::report::Report::Container(v1::ContainerReport {
                container: container.to_owned(),
                state: ContainerState::Stopped.into(),
                cause: "it is not on this VM".to_owned(),
                ..Default::default()
            })),
        }
    }

    /// Runs a command inside a container.
    pub(crate) async fn exec(&self, container: &str, spec: &ExecSpec) -> Result<ExecOutput, CommandError> {
        let handle = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let known = known.get(container).ok_or_else(|| CommandError::Unknown(container.to_owned()))?;
            known.container.get().cloned()
        };
        let handle = handle.ok_or_else(|| CommandError::NotRunning(container.to_owned()))?;
        Ok(handle.exec(spec).await?)
    }

    /// Whether a container that has not ended uses an image.
    pub(crate) fn uses(&self, image: &Digest) -> bool {
        let image = image.to_string();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().any(|known| known.orders.image == image && !known.has_ended())
    }

    /// What runs here, for the manager.
    pub(crate) fn running(&self) -> Vec<v1::RunningContainer> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let running = known.values().filter(|known| !known.has_ended());
        running
            .map(|Known { orders, last, .. }| v1::RunningContainer {
                container: orders.container.clone(),
                function: orders.function.clone(),
                image: orders.image.clone(),
                state: last.state,
                mode: orders.mode,
                shape: orders.shape,
            })
            .collect()
    }

    /// Ends every container and waits until all are gone.
    pub(crate) async fn shutdown(&self) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .for_each(|known| known.stop.cancel());
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Takes the workshop apart once every container is gone; `None` while one is left.
    pub(crate) fn into_workshop(self) -> Option<Workshop> {
        Arc::into_inner(self.workshop)
    }
}

/// An id becomes the name of files.
fn check_id(id: &str) -> Result<(), CommandError> {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let starts_well = id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if starts_well && id.len() <= 128 && id.bytes().all(byte) {
        return Ok(());
    }
    let cause = "1 to 128 letters, digits, '_', '-' and '.', starting with one of the former".to_owned();
    Err(CommandError::Invalid { field: "container id", value: id.to_owned(), cause })
}

fn forget_oldest(known: &mut BTreeMap<String, Known>) {
    let ended = known.iter().filter(|(_, known)| known.has_ended());
    let mut ended: Vec<_> = ended.map(|(id, known)| (known.number, id.clone())).collect();
    if ended.len() >= REMEMBERED {
        ended.sort_unstable();
        known.remove(&ended[0].1);
    }
}
