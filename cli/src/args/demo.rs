//! Flags of `ft demo`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Mode, RuntimeChoice, Shape, TransportChoice};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ft demo                         seven VMs, an image made of this host's python3
  ft demo --vms 15 --tree avl     the paper's tree
  ft demo oci:./image:v1 -o json  your own image, figures as JSON")]
pub(crate) struct DemoArgs {
    /// What to seed, as in `ft seed`; by default an image made of this host's python3 or Rust toolchain.
    pub source: Option<String>,
    /// How many VMs (workers).
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub vms: u32,
    /// How much of the image every VM receives.
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// The shape of the function tree.
    #[arg(long, value_enum, default_value_t)]
    pub tree: Shape,
    /// What carries blocks between the VMs.
    #[arg(long, value_enum, default_value_t)]
    pub transport: TransportChoice,
    /// What runs the containers.
    #[arg(long, value_enum, default_value_t)]
    pub runtime: RuntimeChoice,
    /// Where to work; a directory of its own is made in it and removed at the end.
    #[arg(long, value_name = "DIR", env = "FT_DEMO_DIR")]
    pub dir: Option<PathBuf>,
    /// Give up after this long.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "5m")]
    pub timeout: Duration,
    /// What to run in the containers instead of the image's command.
    #[arg(last = true, value_name = "COMMAND")]
    pub args: Vec<String>,
}
