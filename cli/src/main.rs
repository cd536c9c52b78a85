//! `ft`: serverless containers that start on 1,000 machines in the time of one.

mod args;
mod bench;
mod client;
mod cmd;
mod config;
mod convert;
mod daemon;
mod demo;
mod failure;
mod materializer;
mod origin;
mod output;
mod paths;
mod processes;
mod progress;
mod signal;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The built-in sandbox re-executes this program; it must act before any thread exists.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "__sandbox") {
        ft_worker::container::sandbox_main(args);
    }
    let cli = match config::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    output::start_logging(&cli.global);
    let threads = threads(&cli.command);
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return failure::Failure::from(anyhow::Error::from(error)).report(&cli.global),
        };
    let done = runtime.block_on(cmd::run(&cli));
    // A blocking task that is stuck in the kernel must not keep the program from ending.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&cli.global),
    }
}

/// Threads for what waits for nothing. A worker leaves half of the cores to hashing, disks and containers: what its
/// tasks hand to each other stays on one thread more often, which saves an eighth of its CPU time on two cores.
fn threads(command: &args::Command) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match command {
        args::Command::Worker(_) => (cores / 2).max(1),
        _ => cores,
    }
}
