//! Flags of the commands about containers.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::bytes::parse_bytes;
use super::{Mode, Shape};

/// What `provision` waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Every container is ready (or has failed).
    #[default]
    Ready,
    /// Every container is placed.
    Placed,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ft provision py --count 5 --wait ready
  ft provision py@2 --count 1000 --mode full --tree paired -o json
  ft provision py --count 1 -- python3 -c 'print(1)'")]
pub(crate) struct ProvisionArgs {
    /// NAME (the newest version) or NAME@VERSION.
    pub function: String,
    /// How many containers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// What to wait for.
    #[arg(long, value_enum, default_value_t)]
    pub wait: Wait,
    /// How much of the image every VM receives.
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// The shape of the function tree.
    #[arg(long, value_enum, default_value_t)]
    pub tree: Shape,
    /// Fail what is not ready by then.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "5m")]
    pub timeout: Duration,
    /// An environment variable, KEY=VALUE.
    #[arg(long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// The most memory a container may use.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "0", hide_default_value = true)]
    pub memory: u64,
    /// Only on these VMs.
    #[arg(long = "vm", value_name = "VM")]
    pub vms: Vec<String>,
    /// Calling again with the same key gives the same containers.
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    pub idempotency_key: String,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
    /// What to run instead of the image's command.
    #[arg(last = true, value_name = "COMMAND")]
    pub args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Only of this function.
    #[arg(default_value = "", hide_default_value = true)]
    pub function: String,
    /// Also those that have ended.
    #[arg(short, long)]
    pub all: bool,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ft exec c1-1 -- python3 -V")]
pub(crate) struct ExecArgs {
    /// The container.
    pub container: String,
    /// Give up after this long.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "60s")]
    pub timeout: Duration,
    /// The command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub args: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ft reclaim py            all of them\n  ft reclaim py --count 2  two of them"
)]
pub(crate) struct ReclaimArgs {
    /// NAME (every version) or NAME@VERSION.
    pub function: String,
    /// How many; by default all.
    #[arg(long, conflicts_with = "containers")]
    pub count: Option<u32>,
    /// These containers.
    #[arg(long = "container", value_name = "CONTAINER")]
    pub containers: Vec<String>,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
}
