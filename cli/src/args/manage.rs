//! Flags of the commands about functions, trees and VMs.

use std::time::Duration;

use clap::{Args, Subcommand};

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
    /// Print a new join token.
    Token {
        /// How long it may be used.
        #[arg(long, value_parser = humantime::parse_duration, default_value = "24h")]
        ttl: Duration,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TreeCommand {
    /// Show the tree of a function as it is now.
    Show(FunctionName),
}
