//! Every VM pulls the image from one registry, as container runtimes do.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::process::Child;
use tokio::time::sleep;

use super::{Payload, Seen, busy_since_now, missing, works};
use crate::bench::meter;
use crate::failure::{Failure, Kind};
use crate::processes::{Process, stop_all};

const PORT: u16 = 5000;
/// The registry is up within this time or never.
const START_DEADLINE: Duration = Duration::from_secs(30);

pub(super) async fn preflight() -> Result<(), Failure> {
    if !works("docker-registry", &["--version"]).await {
        return Err(missing("a registry", "docker-registry"));
    }
    if !works("skopeo", &["--version"]).await {
        return Err(missing("skopeo, which pulls", "skopeo"));
    }
    Ok(())
}

/// Serves the image from the first host, and lets all others pull it at once.
pub(super) async fn run(payload: &Payload<'_>) -> Result<Seen, Failure> {
    let registry = start_registry(payload).await?;
    let pulled = pull_everywhere(payload).await;
    stop_all(&mut [registry]).await;
    let seen = pulled?;
    std::fs::remove_dir_all(payload.dir.join("registry"))?;
    Ok(seen)
}

async fn start_registry(payload: &Payload<'_>) -> Result<Process, Failure> {
    let dir = payload.dir.join("registry");
    std::fs::create_dir(&dir)?;
    let address = format!("{}:{PORT}", payload.bed.hosts()[0].ip());
    let config = serde_json::json!({
        "version": "0.1",
        "log": { "level": "error" },
        "storage": { "filesystem": { "rootdirectory": dir } },
        "http": { "addr": address },
    });
    // Every JSON document is a YAML document.
    let file = dir.join("config.yml");
    std::fs::write(&file, config.to_string())?;
    let mut command = payload.bed.hosts()[0].command("docker-registry");
    command.arg("serve").arg(file);
    let mut registry = Process::start("registry", command, payload.dir)?;
    let end = Instant::now() + START_DEADLINE;
    while tokio::net::TcpStream::connect(&address).await.is_err() {
        registry.check()?;
        if Instant::now() > end {
            return Err(registry.failure("did not come up in time"));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(registry)
}

async fn pull_everywhere(payload: &Payload<'_>) -> Result<Seen, Failure> {
    let there = format!("docker://{}:{PORT}/bench:v1", payload.bed.hosts()[0].ip());
    let layout = format!("oci:{}:{}", payload.origin.display(), payload.image);
    let mut push = payload.bed.hosts()[0].command("skopeo");
    push.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", &layout, &there]);
    succeed(push, payload).await?;
    let dir = payload.dir.join("pulled");
    std::fs::create_dir(&dir)?;
    let busy = busy_since_now();
    let cpu = meter::ended_children_cpu_seconds();
    let start = Instant::now();
    let (mut pulls, mut struck) = (Vec::new(), Vec::new());
    for (nth, host) in payload.bed.hosts().iter().enumerate().skip(1) {
        let mut pull = host.command("skopeo");
        pull.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", &there]);
        pull.arg(format!("dir:{}", dir.join(nth.to_string()).display()));
        if payload.struck.contains(&nth) {
            struck.push(begin(pull, payload)?);
            continue;
        }
        pulls.push(async {
            succeed(pull, payload).await?;
            Ok::<_, Failure>(start.elapsed().as_secs_f64())
        });
    }
    let seconds = try_join_all(pulls).await?;
    // Of what has not been waited for, nothing is counted.
    let cpu_seconds = meter::ended_children_cpu_seconds() - cpu;
    let seen = Seen { seconds, cpu_seconds, busy_percent: busy() };
    for mut pull in struck {
        pull.kill().await?;
    }
    std::fs::remove_dir_all(dir)?;
    Ok(seen)
}

/// Runs a command to its end; what it wrote to stderr is the failure's cause.
async fn succeed(command: Command, payload: &Payload<'_>) -> Result<(), Failure> {
    let output = begin(command, payload)?.wait_with_output().await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::message(Kind::Failed, format!("skopeo failed: {}", said.trim())))
}

/// Starts a command that ends with this value.
fn begin(command: Command, payload: &Payload<'_>) -> Result<Child, Failure> {
    let mut command = tokio::process::Command::from(command);
    command.env("TMPDIR", payload.dir).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    Ok(command.stderr(Stdio::piped()).spawn()?)
}
