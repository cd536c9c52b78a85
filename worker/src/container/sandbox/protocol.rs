//! What worker and helper say to each other over the helper's stdin, a socket.
//!
//! To the helper: one byte to the supervisor, by then in its cgroup, to go on; a [`Launch`] or [`Command`] (its
//! length as 32 bits, little-endian, and JSON); then orders of one byte each, the number of a signal. The end of the stream means that the worker is gone, or wants
//! everything gone. To the worker: [`Report`]s, one JSON object a line.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::sys::Failure;
use crate::container::{Network, Spec};

/// The longest message either way, in bytes: arguments and environment are at most 2 MiB (the kernel's limit).
const LONGEST: u32 = 16 << 20;

/// A process to start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Command {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) cwd: String,
    /// User and group, or as the namespace has it.
    pub(super) user: Option<(u32, u32)>,
    /// How many bytes for its stdin follow.
    pub(super) stdin: u32,
}

/// A container to start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Launch {
    pub(super) rootfs: PathBuf,
    pub(super) hostname: String,
    pub(super) network: Network,
    pub(super) user_namespace: bool,
    pub(super) command: Command,
}

impl Launch {
    pub(super) fn of(spec: &Spec, user_namespace: bool) -> Self {
        Self {
            rootfs: spec.rootfs.clone(),
            hostname: spec.hostname.clone(),
            network: spec.network,
            user_namespace,
            command: Command {
                args: spec.args.clone(),
                env: spec.env.clone(),
                cwd: spec.cwd.clone(),
                user: (!user_namespace).then_some((spec.uid, spec.gid)),
                stdin: 0,
            },
        }
    }
}

/// What happened.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// PID 1 is there, with this number on the host.
    Init { pid: u32 },
    /// The process runs.
    Started,
    /// It could not be started.
    Failed { message: String },
    /// It ended.
    Exited { code: i32 },
}

/// The helper's end of the socket: a copy of stdin that its children do not inherit.
pub(super) fn socket() -> io::Result<UnixStream> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

/// Tells the worker. If it is gone, there is nobody to tell.
pub(super) fn report(report: &Report) {
    let Ok(mut line) = serde_json::to_vec(report) else { return };
    line.push(b'\n');
    if let Ok(mut socket) = socket() {
        let _worker_gone = socket.write_all(&line);
    }
}

/// Reads the first message.
pub(super) fn receive<T: DeserializeOwned>(socket: &mut UnixStream) -> Result<T, Failure> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).map_err(Failure::at("read what to run"))?;
    let json = receive_bytes(socket, u32::from_le_bytes(length))?;
    serde_json::from_slice(&json).map_err(Failure::at("understand what to run"))
}

/// Reads bytes that follow a message.
pub(super) fn receive_bytes(socket: &mut UnixStream, length: u32) -> Result<Vec<u8>, Failure> {
    if length > LONGEST {
        return Err(Failure::new("what to run is too long"));
    }
    let mut bytes = vec![0; length as usize];
    socket.read_exact(&mut bytes).map_err(Failure::at("read what to run"))?;
    Ok(bytes)
}

/// The supervisor's side: waits until it may start processes.
pub(super) fn await_start(socket: &mut UnixStream) -> Result<(), Failure> {
    socket.read_exact(&mut [0]).map_err(Failure::at("wait for the worker"))
}

/// The worker's side: lets the supervisor start processes.
pub(super) async fn send_start(socket: &mut OwnedWriteHalf) -> io::Result<()> {
    socket.write_all(&[0]).await
}

/// The worker's side: sends the first message.
pub(super) async fn send_message(socket: &mut OwnedWriteHalf, message: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other("arguments and environment are too long"))?;
    socket.write_all(&length.to_le_bytes()).await?;
    socket.write_all(&json).await
}

/// The worker's side: the socket, and what was reported so far.
#[derive(Debug)]
pub(super) struct Reports {
    pub(super) socket: OwnedWriteHalf,
    lines: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
    init: Option<u32>,
    started: bool,
    exited: Option<i32>,
}

impl Reports {
    pub(super) fn new(socket: tokio::net::UnixStream) -> Self {
        let (read, socket) = socket.into_split();
        let (lines, line) = (BufReader::new(read), Vec::new());
        Self { socket, lines, line, init: None, started: false, exited: None }
    }

    /// The exit code that was reported.
    pub(super) fn exit_code(&self) -> Option<i32> {
        self.exited
    }

    /// Waits for the next report and takes it in; false at the end. Can be cancelled without losing anything.
    pub(super) async fn next(&mut self) -> io::Result<bool> {
        let room = u64::from(LONGEST).saturating_sub(self.line.len() as u64);
        (&mut self.lines).take(room).read_until(b'\n', &mut self.line).await?;
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return Ok(false);
        }
        match serde_json::from_slice(&line)? {
            Report::Init { pid } => self.init = Some(pid),
            Report::Started => self.started = true,
            Report::Exited { code } => self.exited = Some(code),
            Report::Failed { message } => return Err(io::Error::other(message)),
        }
        Ok(true)
    }

    /// Waits until the process runs.
    pub(super) async fn started(&mut self) -> io::Result<()> {
        while !self.started {
            self.next_while_starting().await?;
        }
        Ok(())
    }

    /// Waits until the number of PID 1 is known. It comes from another process than the other reports, so it may
    /// come before or after them.
    pub(super) async fn init(&mut self) -> io::Result<u32> {
        loop {
            if let Some(pid) = self.init {
                return Ok(pid);
            }
            self.next_while_starting().await?;
        }
    }

    async fn next_while_starting(&mut self) -> io::Result<()> {
        if self.next().await? {
            return Ok(());
        }
        Err(io::Error::other("the sandbox helper died while it started"))
    }
}
