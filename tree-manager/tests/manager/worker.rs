//! A scripted worker: it speaks the protocol over a real connection, and runs nothing.

use std::time::Duration;

use ft_identity::{Identity, PrivateKey};
use ft_proto::v1::workers_client::WorkersClient;
use ft_proto::v1::{self, ContainerState, command, report};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::cluster::{Cluster, PATIENCE};

/// A host that has joined.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) vm: String,
    pub(crate) identity: Identity,
    pub(crate) answer: v1::JoinResponse,
}

impl Host {
    /// Joins with the manager's token.
    pub(crate) async fn join(cluster: &Cluster) -> Self {
        let token = cluster.manager.join_token().to_string();
        Self::try_join(cluster, &token, &PrivateKey::generate().unwrap(), "").await.unwrap()
    }

    pub(crate) async fn try_join(
        cluster: &Cluster,
        token: &str,
        key: &PrivateKey,
        vm: &str,
    ) -> Result<Self, Status> {
        let csr_der = key.signing_request().unwrap();
        let mut request = Request::new(v1::JoinRequest { csr_der, name: "host".into(), vm: vm.into() });
        if !token.is_empty() {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let answer = WorkersClient::new(cluster.pinned().await).join(request).await?.into_inner();
        let chain = answer.certificate_chain_der.iter().map(|der| der.clone().into()).collect();
        let identity = Identity::new(chain, key.clone()).unwrap();
        Ok(Self { vm: answer.vm.clone(), identity, answer })
    }

    pub(crate) async fn client(&self, cluster: &Cluster) -> WorkersClient<Channel> {
        WorkersClient::new(cluster.channel(Some(self.identity.clone())).await)
    }

    /// What a worker that has nothing says first. Every VM has an address of its own.
    pub(crate) fn registration(&self) -> v1::Registration {
        let number: u16 = self.vm.trim_start_matches("vm-").parse().unwrap();
        v1::Registration {
            name: "host".into(),
            peer_address: format!("127.0.0.1:{}", 10_000 + number),
            cpus: 2,
            memory_bytes: 1 << 30,
            ..v1::Registration::default()
        }
    }

    /// Opens a session.
    pub(crate) async fn connect(&self, cluster: &Cluster) -> Worker {
        self.connect_with(cluster, self.registration()).await
    }

    pub(crate) async fn connect_with(&self, cluster: &Cluster, registration: v1::Registration) -> Worker {
        let (reports, receiver) = mpsc::channel(1024);
        let first = v1::Report { report: Some(report::Report::Registration(registration)) };
        reports.send(first).await.unwrap();
        let commands =
            self.client(cluster).await.session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let worker = Worker { vm: self.vm.clone(), reports, commands };
        // The session is up when the manager shows it.
        let up = [v1::VmState::Free, v1::VmState::Active, v1::VmState::Draining];
        let question = async || up.contains(&cluster.vm(&worker.vm).await.state());
        crate::cluster::eventually("the session is up", question).await;
        worker
    }
}

/// A session. Dropping it breaks it, as a crash would.
pub(crate) struct Worker {
    pub(crate) vm: String,
    reports: mpsc::Sender<v1::Report>,
    commands: tonic::Streaming<v1::Command>,
}

impl Worker {
    /// Joins and connects.
    pub(crate) async fn new(cluster: &Cluster) -> Self {
        Host::join(cluster).await.connect(cluster).await
    }

    /// The next command.
    pub(crate) async fn command(&mut self) -> (u64, command::Command) {
        let command = tokio::time::timeout(PATIENCE, self.commands.message()).await.expect("no command came");
        let command = command.unwrap().expect("the session ended");
        (command.id, command.command.unwrap())
    }

    /// The next command, which must be to follow an image; it is confirmed.
    pub(crate) async fn follow(&mut self) -> v1::FollowImage {
        match self.command().await {
            (id, command::Command::Follow(follow)) => {
                self.done(id).await;
                follow
            }
            (_, other) => panic!("{} was told {other:?}", self.vm),
        }
    }

    /// The next command, which must be to start a container; it is confirmed.
    pub(crate) async fn start(&mut self) -> v1::StartContainer {
        match self.command().await {
            (id, command::Command::Start(start)) => {
                self.done(id).await;
                start
            }
            (_, other) => panic!("{} was told {other:?}", self.vm),
        }
    }

    /// The next command, which must be to stop a container; it is carried out.
    pub(crate) async fn stop(&mut self) -> String {
        match self.command().await {
            (id, command::Command::Stop(stop)) => {
                self.reach(&stop.container, ContainerState::Stopped).await;
                self.done(id).await;
                stop.container
            }
            (_, other) => panic!("{} was told {other:?}", self.vm),
        }
    }

    /// The next command, which must be to leave an image; it is confirmed.
    pub(crate) async fn leave(&mut self) -> String {
        match self.command().await {
            (id, command::Command::Leave(leave)) => {
                self.done(id).await;
                leave.image
            }
            (_, other) => panic!("{} was told {other:?}", self.vm),
        }
    }

    /// Waits for the end of the session, and says why.
    pub(crate) async fn end(&mut self) -> Code {
        let end = async {
            loop {
                match self.commands.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Code::Ok,
                    Err(status) => return status.code(),
                }
            }
        };
        tokio::time::timeout(PATIENCE, end).await.expect("the session goes on")
    }

    /// Nothing has been sent: what is asked for here arrives after everything that was under way.
    pub(crate) async fn assert_quiet(&mut self, cluster: &Cluster) {
        // A stray container is answered with a command at once; anything that was due comes before it.
        self.reach("c0-0", ContainerState::Started).await;
        assert_eq!(self.stop().await, "c0-0", "{} was told something else first", self.vm);
        drop(cluster.vm(&self.vm).await);
    }

    pub(crate) async fn report(&self, report: report::Report) {
        self.reports.send(v1::Report { report: Some(report) }).await.unwrap();
    }

    pub(crate) async fn heartbeat(&self, images: Vec<v1::ImageStatus>) {
        self.report(report::Report::Heartbeat(v1::Heartbeat { images, ..Default::default() })).await;
    }

    /// Confirms a command.
    pub(crate) async fn done(&self, command: u64) {
        self.report(report::Report::Result(v1::CommandResult { command, ..v1::CommandResult::default() }))
            .await;
    }

    /// Says that a command cannot be carried out.
    pub(crate) async fn refuse(&self, command: u64, error: &str) {
        let result = v1::CommandResult { command, error: error.into(), ..v1::CommandResult::default() };
        self.report(report::Report::Result(result)).await;
    }

    /// Reports a container's state.
    pub(crate) async fn reach(&self, container: &str, state: ContainerState) {
        let report = v1::ContainerReport {
            container: container.into(),
            state: state.into(),
            elapsed_us: 5,
            ..v1::ContainerReport::default()
        };
        self.report(report::Report::Container(report)).await;
    }

    /// Does from now on what it is told, at once, and holds its lease.
    pub(crate) fn obey(mut self) -> Obedient {
        let task = tokio::spawn(async move {
            let mut heartbeat = tokio::time::interval(Duration::from_millis(50));
            loop {
                tokio::select! {
                    _ = heartbeat.tick() => self.heartbeat(Vec::new()).await,
                    command = self.commands.message() => match command {
                        Ok(Some(v1::Command { id, command: Some(command) })) => self.carry_out(id, command).await,
                        _ => return,
                    },
                }
            }
        });
        Obedient(task)
    }

    async fn carry_out(&self, id: u64, command: command::Command) {
        let mut result = v1::CommandResult { command: id, ..v1::CommandResult::default() };
        match command {
            command::Command::Start(start) => {
                for state in [ContainerState::Mounted, ContainerState::Started, ContainerState::Ready] {
                    self.reach(&start.container, state).await;
                }
            }
            command::Command::Stop(stop) => self.reach(&stop.container, ContainerState::Stopped).await,
            command::Command::Exec(exec) => {
                result.stdout = exec.args.join(" ").into_bytes();
                result.stderr = exec.stdin;
                result.exit_code = 7;
            }
            _ => {}
        }
        self.report(report::Report::Result(result)).await;
    }
}

/// A worker that does what it is told. Dropping it kills it.
pub(crate) struct Obedient(tokio::task::JoinHandle<()>);

impl Drop for Obedient {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// So many obedient workers, connected one after the other.
pub(crate) async fn obedient(cluster: &Cluster, count: usize) -> Vec<Obedient> {
    let mut workers = Vec::new();
    for _ in 0..count {
        workers.push(Worker::new(cluster).await.obey());
    }
    workers
}
