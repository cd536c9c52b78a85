//! Carries out the manager's commands. Each may come twice.

use std::sync::Arc;
use std::time::Duration;

use ft_blockstore::{Origin, OriginContext, open_origin};
use ft_core::manifest::{Layout, Manifest};
use ft_core::relay::Mode;
use ft_core::{BlockIndex, Digest};
use ft_proto::v1;
use ft_proto::v1::command::Command as Kind;
use ft_proto::v1::workers_client::WorkersClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::Channel;

use super::session::Incoming;
use super::{Agent, edges};
use crate::container::ExecSpec;
use crate::image::Image;
use crate::lifecycle::CommandError;
use crate::relay::{LinkLimits, RelayOptions};

/// How long the manager may take to give a manifest.
const MANIFEST_DEADLINE: Duration = Duration::from_secs(30);
/// How long the last readers of an image that is left may take.
const LET_GO_DEADLINE: Duration = Duration::from_secs(5);
/// How long a command inside a container may take unless the caller says.
const EXEC_DEADLINE: Duration = Duration::from_secs(60);
/// Bytes of each output of such a command that are kept.
const EXEC_OUTPUT: usize = 1 << 20;

type Answer = Result<v1::CommandResult, Box<dyn std::error::Error + Send + Sync>>;

impl Agent {
    /// Carries out commands in the order in which they came; what runs inside containers runs beside.
    pub(super) async fn obey(self: Arc<Self>, mut commands: mpsc::Receiver<Incoming>) {
        let mut running = tokio::task::JoinSet::new();
        while let Some(Incoming { command, manager }) = commands.recv().await {
            while running.try_join_next().is_some() {}
            let id = command.id;
            if let Some(Kind::Exec(exec)) = command.command {
                let agent = Arc::clone(&self);
                running.spawn(async move {
                    let answer = agent.exec(exec).await;
                    agent.answer(id, answer);
                });
                continue;
            }
            let answer = self.carry_out(command.command, manager).await;
            self.answer(id, answer);
        }
    }

    async fn carry_out(&self, command: Option<Kind>, manager: WorkersClient<Channel>) -> Answer {
        match command {
            Some(Kind::Follow(follow)) => self.follow(follow, manager).await?,
            Some(Kind::Leave(leave)) => self.leave(&leave.image).await?,
            Some(Kind::Start(start)) => self.containers.start(start)?,
            Some(Kind::Stop(stop)) => self.containers.stop(&stop.container),
            Some(Kind::Shutdown(_)) => self.shutdown.cancel(),
            Some(Kind::SetLimits(set)) => self.link.set_limits(link_limits(set.limits.unwrap_or_default())),
            Some(Kind::Exec(_)) | None => {
                return Err("this worker does not know the command; upgrade it".into());
            }
        }
        Ok(v1::CommandResult::default())
    }

    fn answer(&self, command: u64, answer: Answer) {
        let result = match answer {
            Ok(result) => v1::CommandResult { command, ..result },
            Err(error) => {
                tracing::warn!(command, %error, "a command could not be carried out");
                v1::CommandResult { command, error: error.to_string(), ..Default::default() }
            }
        };
        self.outbox.push(v1::report::Report::Result(result));
    }

    async fn follow(
        &self,
        follow: v1::FollowImage,
        manager: WorkersClient<Channel>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let digest = parse_image(&follow.image)?;
        let (edges, addresses) = edges::parse(&follow)?;
        let image = match self.images.get(&digest) {
            Some(image) => image,
            None => {
                let image = Arc::new(self.open_image(digest, &follow, manager).await?);
                image.finish_in_background();
                self.images.insert(Arc::clone(&image));
                image
            }
        };
        if !follow.profile.is_empty() {
            // Before the edges, after which blocks are asked for.
            image.profile(follow.profile.iter().copied().map(BlockIndex).collect()).await;
        }
        image.follow(edges, addresses).await;
        Ok(())
    }

    async fn open_image(
        &self,
        digest: Digest,
        follow: &v1::FollowImage,
        manager: WorkersClient<Channel>,
    ) -> Result<Image, Box<dyn std::error::Error + Send + Sync>> {
        let manifest = timeout(MANIFEST_DEADLINE, fetch_manifest(manager, digest));
        let manifest = manifest.await.map_err(|_| "the manager did not give the manifest in time")??;
        let options = RelayOptions {
            me: self.vm,
            image: digest,
            layout: Arc::new(Layout::new(&manifest)),
            mode: if self.everything { Mode::Full } else { edges::mode(follow.mode()) },
            store: Arc::clone(&self.store),
            origin: self.origin(&follow.origin)?,
            transport: Arc::clone(&self.transport),
            memory: Arc::clone(&self.memory),
            link: Arc::clone(&self.link),
            troubles: self.troubles.clone(),
        };
        let read_deadline = self.read_deadline;
        let opened = tokio::task::spawn_blocking(move || {
            // The relay's tasks are spawned from here.
            Image::open(&manifest, options, read_deadline)
        });
        Ok(opened.await??)
    }

    fn origin(&self, spec: &str) -> Result<Arc<dyn Origin>, ft_blockstore::OriginError> {
        let default = self.membership.origin_url();
        if spec.is_empty() || spec == default {
            return open_origin(&default, &self.origins);
        }
        // Other servers know nothing of our authority.
        let others = OriginContext { tls: None, ..self.origins.clone() };
        open_origin(spec, &others)
    }

    async fn leave(&self, image: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let digest = parse_image(image)?;
        if self.containers.uses(&digest) {
            return Err(format!("a container here uses image {digest}").into());
        }
        if let Some(image) = self.images.remove(&digest) {
            image.stop().await;
            let_go(image).await;
        }
        Ok(())
    }

    async fn exec(&self, exec: v1::Exec) -> Answer {
        let deadline = match exec.timeout_ms {
            0 => EXEC_DEADLINE,
            millis => Duration::from_millis(u64::from(millis)),
        };
        let spec =
            ExecSpec { stdin: exec.stdin, deadline, max_output: EXEC_OUTPUT, ..ExecSpec::new(exec.args) };
        let output = self.containers.exec(&exec.container, &spec).await?;
        Ok(v1::CommandResult {
            exit_code: output.code,
            stdout: output.stdout,
            stderr: output.stderr,
            ..Default::default()
        })
    }
}

/// Waits until nobody holds an image any more, so that it can be followed again: the last readers are on their
/// way out.
async fn let_go(image: Arc<Image>) {
    let held = Arc::downgrade(&image);
    drop(image);
    let gone = async {
        while held.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if timeout(LET_GO_DEADLINE, gone).await.is_err() {
        tracing::warn!("an image that was left is still held by a reader");
    }
}

/// The manifest of an image, verified against its digest.
async fn fetch_manifest(
    mut manager: WorkersClient<Channel>,
    digest: Digest,
) -> Result<Manifest, Box<dyn std::error::Error + Send + Sync>> {
    let request = v1::GetManifestRequest { image: digest.to_string() };
    let encoded = manager.get_manifest(request).await?.into_inner().manifest;
    let found = Digest::of(&encoded);
    if found != digest {
        return Err(format!("the manager gave a manifest with digest {found} for image {digest}").into());
    }
    Ok(Manifest::decode(&encoded)?)
}

fn link_limits(limits: v1::VmLimits) -> LinkLimits {
    let v1::VmLimits { upload_bytes_per_s, download_bytes_per_s } = limits;
    LinkLimits { upload_bytes_per_s, download_bytes_per_s }
}

fn parse_image(image: &str) -> Result<Digest, CommandError> {
    image.parse().map_err(|error: ft_core::digest::ParseDigestError| CommandError::Invalid {
        field: "image",
        value: image.to_owned(),
        cause: error.to_string(),
    })
}
