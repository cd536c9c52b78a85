//! The commands: each takes what the user typed and does it.

mod doctor;
mod exec;
mod function;
mod fuzz;
mod gc;
mod image;
mod manager;
mod provision;
mod ps;
mod reclaim;
mod seed;
mod tree;
mod vm;
mod worker;

pub(crate) use function::label as function_label;
pub(crate) use provision::state_name;
pub(crate) use seed::{publish, seed_into};
pub(crate) use tree::{parents, shape_name};

use clap::CommandFactory as _;

use crate::args::{Cli, Command};
use crate::failure::{Failure, Kind};
use crate::signal;

/// Runs the command.
pub(crate) async fn run(cli: &Cli) -> Result<(), Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Demo(args) => crate::demo::run(global, args).await,
        Command::Manager(args) => manager::run(args).await,
        Command::Worker(args) => worker::run(args).await,
        Command::Seed(args) => interruptible(seed::run(global, args)).await,
        Command::Provision(args) => provision::run(global, args).await,
        Command::Ps(args) => ps::run(global, args).await,
        Command::Exec(args) => exec::run(global, args).await,
        Command::Reclaim(args) => reclaim::run(global, args).await,
        Command::Function(args) => function::run(global, args).await,
        Command::Vm(args) => vm::run(global, args).await,
        Command::Tree(args) => tree::run(global, args).await,
        Command::Image(args) => interruptible(image::run(global, args)).await,
        Command::Gc(args) => gc::run(global, args).await,
        Command::Bench(args) => crate::bench::run(global, args).await,
        Command::Fuzz(args) => interruptible(fuzz::run(global, args)).await,
        Command::Doctor(args) => doctor::run(global, args).await,
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "ft", &mut script);
            crate::output::line(String::from_utf8_lossy(&script).trim_end())
        }
    }
}

/// Lets a command that keeps temporary files take them away when it is interrupted.
async fn interruptible(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let shutdown = signal::shutdown_token()?;
    tokio::select! {
        done = command => done,
        () = shutdown.cancelled() => Err(Failure::message(Kind::Failed, "interrupted")),
    }
}
