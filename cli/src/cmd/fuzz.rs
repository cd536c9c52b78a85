//! `ft fuzz`: the swarm tester of the simulator, over many seeds.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ft_sim::swarm::{Keep, Report, Scenario, shrink};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::args::{FuzzArgs, Global};
use crate::failure::{Failure, Kind};
use crate::output::{self, Format};

/// Runs that may be spent on making a failure smaller.
const TRIES: u32 = 2_000;
/// Lines of the log that are shown of a failure.
const TAIL: usize = 60;

/// All went well.
#[derive(Serialize)]
struct Summary {
    seeds: u64,
    events: u64,
    seconds: f64,
    /// Of the hashes of all event logs: the same seeds give the same in another process.
    log_hash: String,
}

/// One run.
#[derive(Serialize)]
struct Run {
    seed: u64,
    events: u64,
    log_hash: String,
}

#[derive(Serialize)]
struct Failed {
    seed: u64,
    checker: &'static str,
    why: String,
    options: String,
    smallest: String,
    smallest_why: String,
    trace: Vec<String>,
}

pub(crate) async fn run(global: &Global, args: &FuzzArgs) -> Result<(), Failure> {
    let (args_seeds, jobs) = (args.seeds.clone(), args.jobs);
    let (seed, trace) = (args.seed, args.trace);
    let bar = !global.quiet && std::io::stderr().is_terminal();
    let work = move || match seed {
        Some(seed) => one(seed, trace),
        None => many(args_seeds, jobs, bar),
    };
    let outcome = tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from)??;
    show(global, outcome)
}

enum Outcome {
    Run(Run),
    Summary(Summary),
    Failed(Box<Failed>),
}

/// Runs one seed.
fn one(seed: u64, trace: bool) -> Result<Outcome, Failure> {
    let scenario = Scenario::draw(seed);
    let mut unread = None;
    let keep = if trace { Keep::All } else { Keep::Hash };
    let report = scenario.run(None, keep, &mut |line| {
        if unread.is_none() {
            unread = output::line(line).err();
        }
    });
    if let Some(failure) = unread {
        return Err(failure);
    }
    if report.violation.is_some() {
        return Ok(Outcome::Failed(Box::new(explain(&scenario))));
    }
    Ok(Outcome::Run(Run { seed, events: report.events, log_hash: hash(report.log_hash) }))
}

/// Runs many seeds on several threads, until one fails. The lowest seed that fails is the one that is told of.
fn many(seeds: Range<u64>, jobs: Option<u16>, bar: bool) -> Result<Outcome, Failure> {
    let started = Instant::now();
    let threads =
        jobs.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let bar = if bar { ProgressBar::new(seeds.end - seeds.start) } else { ProgressBar::hidden() };
    let bar = bar.with_style(
        ProgressStyle::with_template("{pos}/{len} seeds [{bar:40}] {per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let next = AtomicU64::new(seeds.start);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    // Not beyond the end: the last seed that there is has none after it.
                    let another = |seed| (seed < seeds.end).then(|| seed + 1);
                    let Ok(seed) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, another) else {
                        return;
                    };
                    let report = Scenario::draw(seed).run(None, Keep::Hash, &mut |_| {});
                    bar.inc(1);
                    if report.violation.is_some() {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                    tally.lock().unwrap_or_else(PoisonError::into_inner).add(seed, &report);
                }
            });
        }
    });
    bar.finish_and_clear();
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(seed) = tally.failed {
        return Ok(Outcome::Failed(Box::new(explain(&Scenario::draw(seed)))));
    }
    Ok(Outcome::Summary(Summary {
        seeds: seeds.end - seeds.start,
        events: tally.events,
        seconds: started.elapsed().as_secs_f64(),
        log_hash: hash(tally.hash),
    }))
}

#[derive(Default)]
struct Tally {
    events: u64,
    /// The sum does not depend on the order in which runs end.
    hash: u64,
    failed: Option<u64>,
}

impl Tally {
    fn add(&mut self, seed: u64, report: &Report) {
        self.events += report.events;
        self.hash = self.hash.wrapping_add(report.log_hash);
        if report.violation.is_some() {
            self.failed = Some(self.failed.map_or(seed, |failed| failed.min(seed)));
        }
    }
}

/// Makes a failure as small as it goes, and shows what led to it.
fn explain(scenario: &Scenario) -> Failed {
    let violation =
        |scenario: &Scenario, keep, line: &mut dyn FnMut(&str)| scenario.run(None, keep, line).violation;
    let smallest = shrink(scenario, None, TRIES);
    let first = violation(scenario, Keep::Hash, &mut |_| {});
    let last = violation(&smallest, Keep::Hash, &mut |_| {});
    let mut trace = VecDeque::new();
    if let Some(last) = &last {
        violation(&smallest, Keep::About(last.vm, last.block), &mut |line| {
            if trace.len() == TAIL {
                trace.pop_front();
            }
            trace.push_back(line.to_owned());
        });
    }
    Failed {
        seed: scenario.seed(),
        checker: first.as_ref().map_or("none", |violation| violation.checker),
        why: first.map(|violation| violation.why).unwrap_or_default(),
        options: scenario.to_string(),
        smallest: smallest.to_string(),
        smallest_why: last.map(|violation| violation.why).unwrap_or_default(),
        trace: trace.into(),
    }
}

fn hash(log: u64) -> String {
    format!("{log:016x}")
}

fn show(global: &Global, outcome: Outcome) -> Result<(), Failure> {
    let json = global.output == Format::Json;
    match outcome {
        Outcome::Run(run) if json => output::json(&run),
        Outcome::Run(run) => {
            output::line(&format!("seed {}: {} events, log {}", run.seed, run.events, run.log_hash))
        }
        Outcome::Summary(summary) if json => output::json(&summary),
        Outcome::Summary(Summary { seeds, events, seconds, log_hash }) => output::line(&format!(
            "{seeds} seeds, {events} events, {seconds:.1} s, logs {log_hash}: all held"
        )),
        Outcome::Failed(failed) => {
            if json {
                output::json(&failed)?;
            } else {
                show_failed(&failed)?;
            }
            let message = format!("seed {}: {}: {}", failed.seed, failed.checker, failed.why);
            let again = format!("the whole log: ft fuzz --seed {} --trace", failed.seed);
            Err(Failure::message(Kind::Failed, message).next(again))
        }
    }
}

fn show_failed(failed: &Failed) -> Result<(), Failure> {
    output::line(&format!("seed {} fails: {}: {}\n", failed.seed, failed.checker, failed.why))?;
    output::line(&format!("its options:\n{}\n", failed.options))?;
    output::line(&format!("the smallest that fails alike: {}\n{}\n", failed.smallest_why, failed.smallest))?;
    output::line("the end of its log, as far as it concerns that:")?;
    output::line(&failed.trace.join("\n"))
}
