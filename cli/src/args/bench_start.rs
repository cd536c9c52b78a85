//! Flags of `ft bench start`.

use std::time::Duration;

use clap::Args;
use ft_testbed::Rate;

use super::bytes::parse_bytes;
use super::{ConvertArgs, Shape, TransportChoice};

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  ft bench start --vms 15                          an image made on the spot, of which a start reads an eighth
  ft bench start --vms 15 --source oci:./py:v1 --check-tcp 8080 -- python3 server.py

Each run: a first start on one VM, from which the start-up profile is made; starts with it on one VM and on all; the
same again with every block stored, which shows what the CPU alone takes; and a start on all VMs without a profile.
Workers are new and have nothing, except where everything is stored.")]
pub(crate) struct StartArgs {
    /// How many VMs.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(2..=200))]
    pub vms: u32,
    /// Every host's link, in each direction.
    #[arg(long, default_value = "50mbit")]
    pub rate: Rate,
    /// How much incompressible data the image holds that is made without --source.
    #[arg(long, default_value = "128MiB", value_parser = parse_bytes)]
    pub size: u64,
    /// What to start instead, as in `ft seed`. Its check says when a container is ready.
    #[arg(long, visible_alias = "image", conflicts_with = "size")]
    pub source: Option<String>,
    #[command(flatten)]
    pub convert: ConvertArgs,
    /// The shape of the function tree.
    #[arg(long, value_enum, default_value_t)]
    pub tree: Shape,
    /// By what workers reach each other.
    #[arg(long, value_enum, default_value_t)]
    pub transport: TransportChoice,
    /// How many runs; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub runs: u32,
    /// Give up after this long.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10m")]
    pub timeout: Duration,
    /// What to run in the source's containers instead of its command.
    #[arg(last = true, value_name = "COMMAND", requires = "source")]
    pub args: Vec<String>,
}
