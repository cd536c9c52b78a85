//! Flags of `ft bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use ft_testbed::Rate;

use super::bytes::parse_bytes;
use super::{Mode, Shape};

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Distribute an image to VMs that are real hosts on this machine: network namespaces behind rate-capped links.
    Cluster(ClusterArgs),
}

/// By what workers reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchTransport {
    /// What workers choose by themselves.
    #[default]
    Auto,
    /// QUIC.
    Quic,
    /// TLS 1.3 over TCP.
    Tcp,
}

#[derive(Clone, Debug, Args)]
#[command(
    group = ArgGroup::new("fault"),
    after_help = "Examples:
  ft bench cluster --vms 15                       the whole image to 15 VMs, three runs
  ft bench cluster --vms 31 --tree avl -o json    the paper's tree
  ft bench cluster --vms 31 --kill 3              three workers are killed in mid-transfer

T is the time from the provisioning call to the last block verified and stored on the last VM; S the image's stored
bytes; B a VM's link. T ÷ (S/B) = 1 is what no scheme can beat. The origin is one more host with such a link."
)]
pub(crate) struct ClusterArgs {
    /// How many VMs.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub vms: u32,
    /// Every host's link, in each direction.
    #[arg(long, default_value = "200mbit")]
    pub rate: Rate,
    /// How much incompressible data the image holds.
    #[arg(long, default_value = "256MiB", value_parser = parse_bytes)]
    pub size: u64,
    /// The shape of the function tree.
    #[arg(long, value_enum, default_value_t)]
    pub tree: Shape,
    /// By what workers reach each other.
    #[arg(long, value_enum, default_value_t)]
    pub transport: BenchTransport,
    /// How much of the image every VM receives.
    #[arg(long, value_enum, default_value = "full")]
    pub mode: Mode,
    /// How many runs; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub runs: u32,
    /// Kill this many workers when the median VM has half of the image: a root, interior ones, then others. Each run with
    /// a fault follows one without.
    #[arg(long, value_name = "K", group = "fault", value_parser = clap::value_parser!(u32).range(1..))]
    pub kill: Option<u32>,
    /// Kill an interior worker when the median VM has half of the image, and start it again.
    #[arg(long, group = "fault")]
    pub restart: bool,
    /// Give an interior VM half of the link's rate.
    #[arg(long, group = "fault")]
    pub slow: bool,
    /// Give a VM without children a hundredth of the link's rate.
    #[arg(long, group = "fault")]
    pub throttle_child: bool,
    /// Give a root a hundredth of the link's rate.
    #[arg(long, group = "fault")]
    pub throttle_parent: bool,
    /// Keep stores here instead of in memory.
    #[arg(long, value_name = "DIR")]
    pub disk: Option<PathBuf>,
    /// Give up after this long.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10m")]
    pub timeout: Duration,
}
