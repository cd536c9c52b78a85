//! BitTorrent by libtorrent: every VM is a peer that knows all others, the origin is the first seed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::{Payload, Seen, busy_since_now, missing, works};
use crate::bench::meter;
use crate::failure::{Failure, Kind};

const SCRIPT: &str = include_str!("torrent.py");
/// A peer is up, and the payload hashed, within this time or never.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// Nothing takes longer on links that are worth a benchmark.
const DEADLINE: Duration = Duration::from_secs(1200);

/// The python3 that has libtorrent.
pub(super) async fn python() -> Result<&'static str, Failure> {
    for python in ["python3", "/usr/bin/python3"] {
        if works(python, &["-c", "import libtorrent"]).await {
            return Ok(python);
        }
    }
    Err(missing("libtorrent for python3", "python3-libtorrent"))
}

/// A peer; it ends with this value.
struct Peer {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Waits until it says `word`; gives the seconds since `start`.
    async fn says(&mut self, word: &str, start: Instant, within: Duration) -> Result<f64, Failure> {
        let failed = |what: &str| Failure::message(Kind::Failed, format!("a BitTorrent peer {what}"));
        let line = timeout(within, self.lines.next_line()).await;
        match line.map_err(|_| failed(&format!("was not {word} in time")))?? {
            Some(line) if line == word => Ok(start.elapsed().as_secs_f64()),
            _ => Err(failed("ended; what it said is above")),
        }
    }
}

/// Seeds the origin's blobs from the first host, and lets all others fetch them at once.
pub(super) async fn run(payload: &Payload<'_>) -> Result<Seen, Failure> {
    let python = python().await?;
    let dir = payload.dir.join("torrent");
    std::fs::create_dir(&dir)?;
    let ips: Vec<String> = payload.bed.hosts().iter().map(|host| host.ip().to_string()).collect();
    let torrent = dir.join("bench.torrent").display().to_string();
    let blobs = payload.origin.join("blobs/sha256").display().to_string();
    let mut seed = start(payload, python, 0, &["seed", &ips[0], &blobs, &torrent])?;
    seed.says("ready", Instant::now(), START_DEADLINE).await?;
    let (mut peers, mut struck) = (Vec::new(), Vec::new());
    for nth in 1..=payload.vms {
        let into = dir.join(nth.to_string());
        std::fs::create_dir(&into)?;
        let into = into.display().to_string();
        let mut args = vec!["leech", &ips[nth], &into, &torrent];
        args.extend(ips.iter().map(String::as_str).filter(|ip| *ip != ips[nth]));
        let these = if payload.struck.contains(&nth) { &mut struck } else { &mut peers };
        these.push(start(payload, python, nth, &args)?);
    }
    for peer in peers.iter_mut().chain(&mut struck) {
        peer.says("ready", Instant::now(), START_DEADLINE).await?;
    }
    let used = |peers: &[Peer]| -> f64 {
        peers.iter().filter_map(|peer| peer.child.id()).map(meter::cpu_seconds).sum()
    };
    let (busy, before, go) = (busy_since_now(), used(&peers), Instant::now());
    for peer in peers.iter_mut().chain(&mut struck) {
        peer.stdin.write_all(b"go\n").await?;
    }
    let seconds = try_join_all(peers.iter_mut().map(|peer| peer.says("done", go, DEADLINE))).await?;
    let seen = Seen { seconds, cpu_seconds: used(&peers) - before, busy_percent: busy() };
    for mut peer in peers.into_iter().chain(struck).chain([seed]) {
        peer.child.kill().await?;
    }
    std::fs::remove_dir_all(dir)?;
    Ok(seen)
}

fn start(payload: &Payload<'_>, python: &str, nth: usize, args: &[&str]) -> Result<Peer, Failure> {
    let mut command = Command::from(payload.bed.hosts()[nth].command(python));
    command.args(["-c", SCRIPT]).args(args).kill_on_drop(true).process_group(0);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let (stdin, stdout) = pipes.ok_or_else(|| Failure::message(Kind::Failed, "a peer has no pipes"))?;
    Ok(Peer { child, stdin, lines: BufReader::new(stdout).lines() })
}
