//! What the user typed.

mod bench;
mod bench_start;
mod bytes;
mod choices;
mod containers;
mod daemons;
mod demo;
mod fuzz;
mod images;
mod manage;
mod rates;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use bench::{BenchCommand, ClusterArgs, DemandArgs, Rival};
pub(crate) use bench_start::StartArgs;
pub(crate) use choices::{Mode, RuntimeChoice, Shape, TransportChoice, name_of};
pub(crate) use containers::{ExecArgs, ProvisionArgs, PsArgs, ReclaimArgs, Wait};
pub(crate) use daemons::{DoctorArgs, GcArgs, ManagerArgs, WorkerArgs};
pub(crate) use demo::DemoArgs;
pub(crate) use fuzz::FuzzArgs;
pub(crate) use images::{ConvertArgs, ImageArgs, ImageCommand, SeedArgs};
pub(crate) use manage::{FunctionCommand, FunctionName, LimitArgs, TreeCommand, VmCommand};

use crate::output::Format;

/// Starts a serverless function on 1,000 machines in the time it takes on one.
#[derive(Debug, Parser)]
#[command(
    name = "ft",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  ft demo                                       a whole cluster on this machine
  ft manager & ft worker --join-token-file ...  the daemons
  ft seed docker://127.0.0.1:5000/py:v1 --name py
  ft provision py --count 5 --wait ready

Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 not allowed, 5 unreachable, 6 integrity."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// How to write results.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "FT_OUTPUT",
        help_heading = "Global"
    )]
    pub output: Format,
    /// Say more on stderr; may be repeated.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global")]
    pub verbose: u8,
    /// Say nothing on stderr but errors: no progress, no warnings.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global")]
    pub quiet: bool,
    /// How to write logs.
    #[arg(long, global = true, value_enum, default_value_t, env = "FT_LOG_FORMAT", help_heading = "Global")]
    pub log_format: Format,
    /// A TOML file with defaults for the flags of the command, by their long names.
    #[arg(long, global = true, value_name = "FILE", env = "FT_CONFIG", help_heading = "Global")]
    pub config: Option<PathBuf>,
    /// The credential to show the manager. A manager writes one to admin.json in its state directory when it
    /// starts; by default the one on this host is used.
    #[arg(long, global = true, value_name = "FILE", env = "FT_CREDENTIAL", help_heading = "Global")]
    pub credential: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole cluster on this machine: manager, origin, workers, a function image; then clean up.
    Demo(DemoArgs),
    /// Run the tree manager, and the origin beside it.
    Manager(ManagerArgs),
    /// Run the worker of this VM.
    Worker(WorkerArgs),
    /// Convert an image, archive or directory into a function image and publish it.
    Seed(SeedArgs),
    /// Start containers of a function.
    Provision(ProvisionArgs),
    /// List containers.
    Ps(PsArgs),
    /// Run a command inside a container.
    Exec(ExecArgs),
    /// Stop containers of a function.
    Reclaim(ReclaimArgs),
    /// List, show and remove functions.
    #[command(subcommand)]
    Function(FunctionCommand),
    /// List, limit and drain VMs, and let new ones join.
    #[command(subcommand)]
    Vm(VmCommand),
    /// Show function trees.
    #[command(subcommand)]
    Tree(TreeCommand),
    /// Look into function images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Remove what no function uses from the origin beside the manager.
    Gc(GcArgs),
    /// Measure on real links.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Test the relay engine and the trees under seeded faults, on the simulator.
    Fuzz(FuzzArgs),
    /// Say what this host can and cannot do, and how to mend it.
    Doctor(DoctorArgs),
    /// Print a shell completion script.
    #[command(after_help = "Example:\n  ft completion bash > /etc/bash_completion.d/ft")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
