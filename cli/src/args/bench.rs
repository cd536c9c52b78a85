//! Flags of `ft bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use ft_testbed::Rate;

use super::bytes::parse_bytes;
use super::{ConvertArgs, Mode, Shape, StartArgs, TransportChoice};

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Distribute an image to VMs that are real hosts on this machine: network namespaces behind rate-capped links.
    Cluster(Box<ClusterArgs>),
    /// Read blocks on demand while pushes saturate every link of a chain of VMs.
    Demand(DemandArgs),
    /// Start containers on VMs that have nothing of the image: the first start, and starts with its profile.
    Start(Box<StartArgs>),
}

/// What a user would take instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rival {
    /// Every VM pulls from one registry (docker-registry, skopeo).
    Plain,
    /// BitTorrent (libtorrent).
    Torrent,
    /// A chain of VMs.
    Chain,
}

#[derive(Clone, Debug, Args)]
#[command(
    group = ArgGroup::new("fault"),
    after_help = "Examples:
  ft bench cluster --vms 15                       the whole image to 15 VMs, three runs
  ft bench cluster --vms 31 --tree avl -o json    the paper's tree
  ft bench cluster --vms 31 --kill 3              three workers are killed in mid-transfer
  ft bench cluster --vms 31 --peers               BitTorrent, plain pulls and a chain beside it
  ft bench cluster --vms 15 --mode lazy --source oci:./image:v1 --check-tcp 8080
                                                  from the second run on, with a start-up profile

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
    /// What carries blocks between workers.
    #[arg(long, value_enum, default_value_t)]
    pub transport: TransportChoice,
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
    /// Also distribute the same bytes over the same links by other means: all of them, or those named. Links that --slow
    /// or --throttle-… strikes are slow for them too, and nobody waits for the VMs behind these.
    #[arg(
        long,
        value_enum,
        value_name = "PEER,...",
        num_args = 0..,
        value_delimiter = ',',
        require_equals = true,
        default_missing_values = ["plain", "torrent", "chain"]
    )]
    pub peers: Vec<Rival>,
    /// What to distribute instead of incompressible data, as in `ft seed`.
    #[arg(long, conflicts_with = "size")]
    pub source: Option<String>,
    #[command(flatten)]
    pub convert: ConvertArgs,
    /// Keep stores here instead of in memory.
    #[arg(long, value_name = "DIR")]
    pub disk: Option<PathBuf>,
    /// Give up after this long.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10m")]
    pub timeout: Duration,
    /// What to run in the source's containers instead of its command.
    #[arg(last = true, value_name = "COMMAND", requires = "source")]
    pub args: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:
  ft bench demand --hops 4 --rate 100mbit

A chain of VMs: the first has the whole image, the others are receiving it. A reader on the last one reads blocks
that the pushes will not reach for long, one at a time. What the wire alone needs is a block's bits ÷ the rate × the
hops, as every VM receives the whole block before it passes it on.")]
pub(crate) struct DemandArgs {
    /// How many links lie between the VM that has the image and the reader.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub hops: u32,
    /// Every host's link, in each direction.
    #[arg(long, default_value = "100mbit")]
    pub rate: Rate,
    /// How much incompressible data the image holds.
    #[arg(long, default_value = "256MiB", value_parser = parse_bytes)]
    pub size: u64,
    /// What carries blocks between workers.
    #[arg(long, value_enum, default_value_t)]
    pub transport: TransportChoice,
    /// Read at most so many blocks.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub count: u32,
    /// Give up after this long.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "5m")]
    pub timeout: Duration,
}
