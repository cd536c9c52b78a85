//! Flags of the commands about functions, trees and VMs.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::rates::parse_limit;

#[derive(Debug, Subcommand)]
pub(crate) enum FunctionCommand {
    /// List functions.
    Ls {
        /// Also older versions.
        #[arg(short, long)]
        all_versions: bool,
        /// The tenant; by default your own.
        #[arg(long, default_value = "", hide_default_value = true)]
        tenant: String,
    },
    /// Show one function.
    Show(FunctionName),
    /// Remove a function, or one version of it.
    Rm(FunctionName),
}

/// A function by name.
#[derive(Debug, Args)]
pub(crate) struct FunctionName {
    /// NAME or NAME@VERSION.
    pub function: String,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VmCommand {
    /// List VMs.
    Ls,
    /// Stop a VM's containers and place nothing on it any more.
    Drain {
        /// The VM, as `ft vm ls` shows it.
        vm: String,
    },
    /// Limit a VM's traffic in blocks from now on, until its worker is started anew.
    #[command(after_help = "Examples:
  ft vm limit vm-3 --upload 100mbit
  ft vm limit vm-3 --upload none")]
    Limit(LimitArgs),
    /// Print a new join token.
    Token {
        /// How long it may be used.
        #[arg(long, value_parser = humantime::parse_duration, default_value = "24h")]
        ttl: Duration,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true, id = "limits")]
pub(crate) struct LimitRates {
    /// What it sends to other VMs, as in 100mbit; none lifts the limit.
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    pub upload: Option<u64>,
    /// What it receives, likewise.
    #[arg(long, value_name = "RATE", value_parser = parse_limit)]
    pub download: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// The VM, as `ft vm ls` shows it.
    pub vm: String,
    #[command(flatten)]
    pub rates: LimitRates,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TreeCommand {
    /// Show the tree of a function as it is now.
    Show(FunctionName),
}
