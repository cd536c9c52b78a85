//! The session with the manager: reports up, commands down.

use std::time::Duration;

use ft_core::relay::Rate;
use ft_proto::v1;
use ft_proto::v1::report::Report as Kind;
use ft_proto::v1::workers_client::WorkersClient;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::Agent;
use super::backoff::Backoff;
use super::edges::name_of;
use super::join::in_time;
use super::news::{LOOK, News};
use crate::error::WorkerError;
use crate::outbox::is_milestone;

/// Reports handed to gRPC and not yet sent.
const SEND_QUEUE: usize = 8;

/// How long telling the manager that the worker ends may take.
const LEAVE_DEADLINE: Duration = Duration::from_secs(1);

/// How a session ended.
enum End {
    ByManager,
    /// The worker ends.
    Left,
}

/// A session that has begun.
struct Opened {
    manager: WorkersClient<Channel>,
    reports: mpsc::Sender<v1::Report>,
    commands: Streaming<v1::Command>,
}

/// A command, and the connection that it came over.
pub(super) struct Incoming {
    pub(super) command: v1::Command,
    pub(super) manager: WorkersClient<Channel>,
}

impl Agent {
    /// Keeps a session with the manager, makes it anew whenever it breaks, and takes leave when the worker ends.
    pub(super) async fn keep_session(&self, commands: mpsc::Sender<Incoming>) {
        let mut backoff = Backoff::new();
        loop {
            match self.session(&commands, &mut backoff).await {
                Ok(End::Left) => return,
                Ok(End::ByManager) => tracing::info!("the manager ended the session"),
                Err(error) => tracing::warn!(%error, "no session with the manager; trying again"),
            }
            let pause = tokio::time::sleep(backoff.pause());
            if self.shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// One session, from the registration until it breaks or the worker ends.
    async fn session(
        &self,
        commands: &mpsc::Sender<Incoming>,
        backoff: &mut Backoff,
    ) -> Result<End, WorkerError> {
        let Some(opened) = self.shutdown.run_until_cancelled(self.open_session()).await else {
            return Ok(End::Left);
        };
        let Opened { manager, reports, commands: mut stream } = opened?;
        tracing::info!(vm = %self.vm, "in session with the manager");
        backoff.reset();
        let mut beat = interval(self.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut news = News::default();
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => {
                    take_leave(reports, stream).await;
                    return Ok(End::Left);
                }
                command = stream.message() => match command.map_err(|status| self.broken(&status))? {
                    Some(command) => {
                        // Nobody takes commands any more once the worker ends, which is noticed above.
                        let _ = commands.send(Incoming { command, manager: manager.clone() }).await;
                    }
                    None => return Ok(End::ByManager),
                },
                kind = self.outbox.next() => self.send(&reports, kind, &mut news).await?,
                _ = beat.tick() => self.beat(&reports, &mut news).await?,
                _ = look.tick() => {
                    if news.is_due(&self.link.upload_rates(), Instant::now()) {
                        self.beat(&reports, &mut news).await?;
                    }
                }
            }
        }
    }

    async fn open_session(&self) -> Result<Opened, WorkerError> {
        let mut manager = self.membership.connect().await?;
        let (reports, queue) = mpsc::channel(SEND_QUEUE);
        self.outbox.forget_results();
        // The queue is empty and open.
        let _ = reports.send(report(Kind::Registration(self.registration()))).await;
        let opened = manager.session(ReceiverStream::new(queue));
        let commands = in_time(self.membership.manager(), opened).await?;
        Ok(Opened { manager, reports, commands })
    }

    /// Sends one report, after fresh figures where they matter.
    async fn send(
        &self,
        reports: &mpsc::Sender<v1::Report>,
        kind: Kind,
        news: &mut News,
    ) -> Result<(), WorkerError> {
        if is_milestone(&kind) {
            self.beat(reports, news).await.inspect_err(|_| self.outbox.put_back(kind.clone()))?;
        }
        match reports.send(report(kind)).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendError(unsent)) => {
                unsent.report.into_iter().for_each(|kind| self.outbox.put_back(kind));
                Err(self.gone())
            }
        }
    }

    async fn beat(&self, reports: &mpsc::Sender<v1::Report>, news: &mut News) -> Result<(), WorkerError> {
        let rates = self.link.upload_rates();
        news.told(&rates, Instant::now());
        let beat = v1::Heartbeat {
            images: self.images.statuses(),
            upload_shown: rates.shown.map(upload_rate),
            upload_saturated: rates.saturated.map(upload_rate),
        };
        reports.send(report(Kind::Heartbeat(beat))).await.map_err(|_| self.gone())
    }

    fn registration(&self) -> v1::Registration {
        let limits = self.link.limits();
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        v1::Registration {
            name: self.name.clone(),
            peer_address: self.peer_address.to_string(),
            cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
            memory_bytes: memory_bytes(),
            containers: self.containers.running(),
            images: self.images.statuses(),
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
            limits: Some(v1::VmLimits {
                upload_bytes_per_s: limits.upload_bytes_per_s,
                download_bytes_per_s: limits.download_bytes_per_s,
            }),
            transports: self.transport.kinds().into_iter().map(|kind| name_of(kind).into()).collect(),
        }
    }

    fn broken(&self, status: &tonic::Status) -> WorkerError {
        let cause = format!("{} ({:?})", status.message(), status.code());
        WorkerError::Unreachable { manager: self.membership.manager().to_owned(), cause }
    }

    fn gone(&self) -> WorkerError {
        WorkerError::Unreachable {
            manager: self.membership.manager().to_owned(),
            cause: "the session is over".to_owned(),
        }
    }
}

/// Tells the manager that this worker ends, and waits until it has heard that, or long enough.
async fn take_leave(reports: mpsc::Sender<v1::Report>, mut commands: Streaming<v1::Command>) {
    let told = async {
        // Ending the reports makes the manager end the commands.
        let _ = reports.send(report(Kind::Leaving(v1::Leaving {}))).await;
        drop(reports);
        while let Ok(Some(_)) = commands.message().await {}
    };
    if timeout(LEAVE_DEADLINE, told).await.is_err() {
        tracing::info!("the manager does not hear that this worker ends; it will notice");
    }
}

fn upload_rate(rate: Rate) -> v1::UploadRate {
    v1::UploadRate { bytes_per_s: rate.bytes_per_s, children: rate.children }
}

fn report(kind: Kind) -> v1::Report {
    v1::Report { report: Some(kind) }
}

/// The host's memory.
fn memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    // Narrower on 32-bit hosts.
    #[allow(clippy::useless_conversion, reason = "the fields' width depends on the platform")]
    let (total, unit) = (u64::from(info.totalram), u64::from(info.mem_unit));
    total.saturating_mul(unit)
}
