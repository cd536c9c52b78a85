//! `ft bench`: what a user can measure again, on real hosts of one machine.

mod cluster;
mod cluster_run;
mod demand;
mod distribution;
mod fault;
mod figures;
mod image;
mod meter;
mod outcome;
mod report;
mod rival;
mod stage;
mod start;
mod start_figures;
mod start_report;

use crate::args::{BenchCommand, Global};
use crate::failure::Failure;

pub(crate) async fn run(global: &Global, command: &BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Cluster(args) => cluster_run::run(global, args).await,
        BenchCommand::Demand(args) => demand::run(global, args).await,
        BenchCommand::Start(args) => start::run(global, args).await,
    }
}
