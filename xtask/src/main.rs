//! The developers' commands: `cargo xtask test` and what it, and `.ci/run`, are made of.

mod debian;
mod dependencies;
mod image;
mod no_std;
mod process;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The developers' commands of Function Trees.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install the Debian packages that the tests need, then run every test
    Test {
        /// Arguments for `cargo test`, instead of `--workspace --no-fail-fast`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Make the tests' realistic image: Debian, python3, numpy, scipy and pandas, as an OCI layout
    TestImage,
    /// Prove that ft-core does not use std
    NoStd,
    /// Check the dependencies' licences, sources, bans, duplicate versions and advisories (deny.toml)
    Dependencies,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test { arguments } => test::run(&arguments),
        Command::TestImage => debian::install(debian::IMAGE).and_then(|()| image::build()),
        Command::NoStd => no_std::prove(),
        Command::Dependencies => dependencies::check(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Prints what happens next.
fn heading(what: &str) {
    println!("\n── {what}");
}
