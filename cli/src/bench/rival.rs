//! What a user would take instead: the same bytes over the same links, by other means.

mod plain;
mod torrent;

use std::path::{Path, PathBuf};

use ft_testbed::{Rate, Testbed};
use serde::Serialize;

use super::figures::{Figures, median};
use super::meter::MachineCpu;
use crate::args::Rival;
use crate::failure::{Failure, Kind};

/// What is to be distributed.
pub(super) struct Payload<'a> {
    pub(super) bed: &'a Testbed,
    /// For all state.
    pub(super) dir: &'a Path,
    pub(super) vms: usize,
    pub(super) rate: Rate,
    /// Hosts that a fault strikes: they take part, but nobody waits for them.
    pub(super) struck: Vec<usize>,
    /// What their links carry.
    pub(super) struck_rate: Rate,
    /// The origin's directory: an OCI layout.
    pub(super) origin: PathBuf,
    /// The image's name in it.
    pub(super) image: String,
    pub(super) bytes: u64,
}

impl Payload<'_> {
    /// Gives the struck hosts links of this rate.
    fn set_struck_links(&self, rate: Rate) -> Result<(), Failure> {
        let set = |host: &usize| self.bed.set_rate(*host, Some(rate));
        self.struck.iter().try_for_each(set).map_err(|error| Failure::new(Kind::Failed, error))
    }
}

/// The figures of a rival, as those of a run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RivalFigures {
    pub(super) name: &'static str,
    pub(super) seconds: f64,
    pub(super) t_over_bound: f64,
    pub(super) median_over_bound: f64,
    pub(super) cpu_s_per_gb: f64,
    pub(super) cpu_busy_percent: f64,
    /// T ÷ ours, with the same fault.
    pub(super) t_over_ours: Option<f64>,
}

impl RivalFigures {
    /// Of a run of a chain, whose figures are ours.
    pub(super) fn of_chain(run: &Figures) -> Self {
        let number = |figure: Option<f64>| figure.unwrap_or(f64::NAN);
        Self {
            name: "chain",
            seconds: number(run.seconds),
            t_over_bound: number(run.t_over_bound),
            median_over_bound: number(run.median_over_bound),
            cpu_s_per_gb: number(run.cpu_s_per_gb),
            cpu_busy_percent: number(run.cpu_busy_percent),
            t_over_ours: None,
        }
    }
}

/// What was seen of a rival, of the VMs that are not struck.
struct Seen {
    /// From the start until each VM had everything.
    seconds: Vec<f64>,
    cpu_seconds: f64,
    busy_percent: f64,
}

/// Lets a rival distribute the payload once. A plain chain is none of these: it is a tree of ours.
pub(super) async fn run(rival: Rival, payload: &Payload<'_>) -> Result<Option<RivalFigures>, Failure> {
    if rival == Rival::Chain {
        return Ok(None);
    }
    payload.set_struck_links(payload.struck_rate)?;
    let (name, seen) = match rival {
        Rival::Plain => ("plain pull", plain::run(payload).await?),
        _ => ("BitTorrent", torrent::run(payload).await?),
    };
    payload.set_struck_links(payload.rate)?;
    let bound = payload.bytes as f64 / payload.rate.bytes() as f64;
    let mut all = seen.seconds;
    let received = payload.bytes as f64 * all.len() as f64;
    let middle = median(&mut all).unwrap_or(f64::NAN);
    let last = all.last().copied().unwrap_or(f64::NAN);
    Ok(Some(RivalFigures {
        name,
        seconds: last,
        t_over_bound: last / bound,
        median_over_bound: middle / bound,
        cpu_s_per_gb: seen.cpu_seconds / (received / 1e9),
        cpu_busy_percent: seen.busy_percent,
        t_over_ours: None,
    }))
}

/// An error, before anything is made, if this machine lacks what a rival needs.
pub(super) async fn preflight(rivals: &[Rival]) -> Result<(), Failure> {
    for rival in rivals {
        match rival {
            Rival::Plain => plain::preflight().await?,
            Rival::Torrent => torrent::python().await.map(drop)?,
            Rival::Chain => {}
        }
    }
    Ok(())
}

/// Whether a program can be run with these arguments and succeeds.
async fn works(program: &str, args: &[&str]) -> bool {
    let mut command = tokio::process::Command::new(program);
    command.args(args).stdin(std::process::Stdio::null());
    command.output().await.is_ok_and(|output| output.status.success())
}

fn missing(what: &str, package: &str) -> Failure {
    Failure::message(Kind::Failed, format!("--peers needs {what}"))
        .next(format!("install Debian's package {package}, or leave this peer out"))
}

/// Measures how busy the machine is from now on.
fn busy_since_now() -> impl Fn() -> f64 {
    let start = MachineCpu::now();
    move || MachineCpu::now().busy_percent_since(start)
}
