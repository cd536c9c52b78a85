//! The life of one container.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ft_core::Digest;
use ft_proto::v1::{self, ContainerState};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Known, Workshop};
use crate::container::{Container, ContainerError, Exit, NotReady, RunConfig, RunConfigError, Spec};
use crate::image::{Image, StartRecording};
use crate::root::{Root, RootError, remove_tree};
use crate::state;

/// How long the manager may take to tell this VM of the image that a container is to run.
const IMAGE_DEADLINE: Duration = Duration::from_secs(30);
/// How long after it is ready a container's reads still belong to its start: what its first request needs.
const PROFILE_GRACE: Duration = Duration::from_secs(1);
/// Bytes of a container's output that go into reports.
const OUTPUT_TAIL: u64 = 4096;

/// The life of one container.
pub(super) struct Life {
    pub(super) workshop: Arc<Workshop>,
    pub(super) known: Arc<Mutex<BTreeMap<String, Known>>>,
    pub(super) orders: v1::StartContainer,
    pub(super) image: Digest,
    pub(super) stop: CancellationToken,
    pub(super) container: Arc<OnceLock<Arc<Container>>>,
    pub(super) since: Instant,
}

/// How a life ended.
struct End {
    state: ContainerState,
    cause: String,
    exit: Option<Exit>,
    output: String,
}

/// Why a container did not become ready.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the manager did not tell this VM to follow image {0}")]
    NotFollowed(Digest),
    #[error("the image was not there within {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Root(#[from] RootError),
    #[error(transparent)]
    Config(#[from] RunConfigError),
    #[error(transparent)]
    State(#[from] crate::error::WorkerError),
    #[error(transparent)]
    Runtime(#[from] ContainerError),
    #[error(transparent)]
    NotReady(#[from] NotReady),
}

/// What has been made so far, in the order of making.
#[derive(Default)]
struct Made {
    root: Option<Root>,
    container: Option<Arc<Container>>,
    ready: bool,
}

impl Life {
    pub(super) async fn run(self) {
        let mut made = Made::default();
        let outcome = self.live(&mut made).await;
        let End { state, cause, exit, output } = self.take_down(made, outcome).await;
        if state == ContainerState::Failed {
            tracing::warn!(container = self.orders.container, cause, "a container failed");
        }
        self.report(state, cause, output, exit);
    }

    /// From nothing to the end of the process. `Ok(None)`: it was told to stop.
    async fn live(&self, made: &mut Made) -> Result<Option<Exit>, Failure> {
        let Some(image) = self.unless_stopped(self.await_image()).await else { return Ok(None) };
        let image = image?;
        let config = RunConfig::parse(image.config())?;
        let workshop = &self.workshop;
        let dir = self.dir();
        state::create(&dir)?;
        let root = workshop.roots.make(&image, &dir, &self.orders.container).await?;
        let spec = self.spec(&config, root.path().to_owned());
        made.root = Some(root);
        self.report(ContainerState::Mounted, String::new(), String::new(), None);
        if self.stop.is_cancelled() {
            return Ok(None);
        }
        let container = Arc::new(workshop.runtime.start(spec).await?);
        made.container = Some(Arc::clone(&container));
        // Set once: a container is started once.
        let _ = self.container.set(Arc::clone(&container));
        self.report(ContainerState::Started, String::new(), String::new(), None);
        let ready = container.ready(config.check.as_ref(), workshop.limits.ready_deadline);
        let Some(ready) = self.unless_stopped(ready).await else { return Ok(None) };
        ready?;
        made.ready = true;
        self.report(ContainerState::Ready, String::new(), tail(&container).await, container.exited());
        let ended = pin!(self.unless_stopped(container.wait()));
        let recording = made.root.as_mut().and_then(Root::take_recording);
        Ok(self.report_start(recording, ended).await)
    }

    /// Reports what the start read once it has been ready for a moment, or has ended. Waits for the end.
    async fn report_start<T>(
        &self,
        recording: Option<StartRecording>,
        mut ended: Pin<&mut impl Future<Output = T>>,
    ) -> T {
        let Some(recording) = recording else { return ended.await };
        let early = timeout(PROFILE_GRACE, &mut ended).await;
        let blocks: Vec<_> = recording.blocks().into_iter().map(|block| block.0).collect();
        drop(recording);
        // None were seen if the image was mounted straight from its file.
        if !blocks.is_empty() {
            self.workshop.outbox.push(v1::report::Report::StartProfile(v1::StartProfile {
                container: self.orders.container.clone(),
                function: self.orders.function.clone(),
                image: self.orders.image.clone(),
                blocks,
            }));
        }
        match early {
            Ok(ended) => ended,
            Err(_) => ended.await,
        }
    }

    /// Waits for the image, and for as much of it as a root file system needs.
    async fn await_image(&self) -> Result<Arc<Image>, Failure> {
        let Workshop { images, roots, limits, .. } = &*self.workshop;
        let image = timeout(IMAGE_DEADLINE, images.wait_for(&self.image)).await;
        let image = image.map_err(|_| Failure::NotFollowed(self.image))?;
        let there = timeout(limits.root_deadline, roots.await_image(&image)).await;
        there.map_err(|_| Failure::Late(limits.root_deadline))??;
        Ok(image)
    }

    /// Takes down what was made, in reverse, and says how the life ended.
    async fn take_down(&self, made: Made, outcome: Result<Option<Exit>, Failure>) -> End {
        let mut exit = *outcome.as_ref().unwrap_or(&None);
        let mut output = String::new();
        if let Some(container) = &made.container {
            match container.stop(self.workshop.limits.stop_grace).await {
                Ok(ended) => exit = Some(ended),
                Err(error) => tracing::warn!(%error, "a container does not die"),
            }
            output = tail(container).await;
        }
        drop(made.container);
        let removed = match made.root {
            Some(root) => self.workshop.roots.remove(root).await,
            None => remove_tree(self.dir()).await,
        };
        if let Err(error) = removed {
            tracing::warn!(container = self.orders.container, %error, "a container left something behind");
        }
        let (state, cause) = match outcome {
            Err(failure) => (ContainerState::Failed, self.explain(&failure)),
            Ok(Some(_)) => (ContainerState::Stopped, "the process ended".to_owned()),
            Ok(None) if made.ready => (ContainerState::Stopped, "told to stop".to_owned()),
            Ok(None) => (ContainerState::Stopped, "told to stop before it was ready".to_owned()),
        };
        End { state, cause, exit, output }
    }

    /// A process that could not read its files says little; the image knows why.
    fn explain(&self, failure: &Failure) -> String {
        let unread = self.workshop.images.get(&self.image).and_then(|image| image.unread_since(self.since));
        match unread {
            Some(unread) if matches!(failure, Failure::Runtime(_) | Failure::NotReady(_)) => {
                format!("{failure}; a part of the image could not be read: {unread}")
            }
            _ => failure.to_string(),
        }
    }

    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.stop.run_until_cancelled(work).await
    }

    fn dir(&self) -> PathBuf {
        self.workshop.dir.join(&self.orders.container)
    }

    fn spec(&self, config: &RunConfig, rootfs: PathBuf) -> Spec {
        let orders = &self.orders;
        let args = if orders.args.is_empty() { &config.args } else { &orders.args };
        Spec {
            id: orders.container.clone(),
            rootfs,
            args: args.clone(),
            env: merge_env(&config.env, &orders.env),
            cwd: config.cwd.clone(),
            uid: config.user.uid,
            gid: config.user.gid,
            memory_bytes: Some(orders.memory_bytes).filter(|bytes| *bytes > 0),
            hostname: orders.container.chars().take(63).collect(),
            network: self.workshop.network,
            output: self.dir().join("output"),
        }
    }

    fn report(&self, state: ContainerState, cause: String, output_tail: String, exit: Option<Exit>) {
        let report = v1::ContainerReport {
            container: self.orders.container.clone(),
            state: state.into(),
            elapsed_us: i64::try_from(self.since.elapsed().as_micros()).unwrap_or(i64::MAX),
            cause,
            output_tail,
            exit_code: exit.map(|exit| exit.code),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get_mut(&self.orders.container) {
            known.last = report.clone();
            if known.has_ended() {
                // Nobody runs anything in it any more.
                known.container = Arc::default();
            }
        }
        drop(known);
        self.workshop.outbox.push(v1::report::Report::Container(report));
    }
}

/// The end of what a container wrote.
async fn tail(container: &Arc<Container>) -> String {
    let container = Arc::clone(container);
    let tail = tokio::task::spawn_blocking(move || container.output_tail(OUTPUT_TAIL)).await;
    String::from_utf8_lossy(&tail.unwrap_or_default()).into_owned()
}

/// The image's environment, with the caller's on top: a name keeps its last value.
fn merge_env(image: &[String], caller: &[String]) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut merged: Vec<String> = Vec::new();
    for variable in image.iter().chain(caller) {
        match merged.iter_mut().find(|known| name(known) == name(variable)) {
            Some(known) => known.clone_from(variable),
            None => merged.push(variable.clone()),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::merge_env;

    #[test]
    fn the_callers_variables_win_and_the_order_stays() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let merged = merge_env(&texts(&["A=1", "B=2"]), &texts(&["C=3", "A=x=y"]));
        assert_eq!(merged, texts(&["A=x=y", "B=2", "C=3"]));
    }
}
