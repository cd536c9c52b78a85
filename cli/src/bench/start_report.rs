//! What `ft bench start` prints.

use std::collections::BTreeMap;

use serde::Serialize;

use super::start_figures::StartFigures;
use crate::args::{Global, StartArgs, name_of};
use crate::failure::Failure;
use crate::output::{self, Format};

/// Which start of a run, in the order of the report's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// One VM, no profile: from the origin.
    First,
    /// One VM, with a profile.
    One,
    /// The same VM again, everything stored.
    OneStored,
    /// All VMs, with a profile.
    Many,
    /// The same VMs again, everything stored.
    ManyStored,
    /// All VMs, no profile.
    ManyFirst,
}

impl Kind {
    fn label(self, vms: u32) -> String {
        match self {
            Self::First => "1 VM, first start".to_owned(),
            Self::One => "1 VM, profile".to_owned(),
            Self::OneStored => "1 VM, all stored".to_owned(),
            Self::Many => format!("{vms} VMs, profile"),
            Self::ManyStored => format!("{vms} VMs, all stored"),
            Self::ManyFirst => format!("{vms} VMs, first start"),
        }
    }
}

/// One row: the medians and the runs of one kind of start.
#[derive(Debug, Serialize)]
struct Row {
    start: Kind,
    /// Its `ready_ms` ÷ that of one VM with a profile.
    ready_over_one: Option<f64>,
    #[serde(flatten)]
    median: StartFigures,
    runs: Vec<StartFigures>,
}

/// The object of `-o json`.
#[derive(Debug, Serialize)]
pub(super) struct StartReport {
    vms: u32,
    rate_bits_per_s: u64,
    image_bytes: u64,
    stored_bytes: u64,
    tree: String,
    transport: String,
    /// `ready_ms` of all VMs with a profile ÷ that of one.
    ready_over_one: Option<f64>,
    /// The same with everything stored: what the machine's CPU makes of it.
    stored_over_one: Option<f64>,
    /// The same without that part: (cold − stored) of all ÷ (cold − stored) of one.
    network_over_one: Option<f64>,
    rows: Vec<Row>,
    #[serde(skip)]
    runs: BTreeMap<Kind, Vec<StartFigures>>,
}

impl StartReport {
    pub(super) fn new(args: &StartArgs, function: &ft_proto::v1::Function) -> Self {
        Self {
            vms: args.vms,
            rate_bits_per_s: args.rate.bits(),
            image_bytes: function.image_bytes,
            stored_bytes: function.stored_bytes,
            tree: format!("{:?}", args.tree).to_lowercase(),
            transport: name_of(args.transport),
            ready_over_one: None,
            stored_over_one: None,
            network_over_one: None,
            rows: Vec::new(),
            runs: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, kind: Kind, figures: StartFigures) {
        tracing::info!(start = ?kind, ready_ms = figures.ready_ms, "measured");
        self.runs.entry(kind).or_default().push(figures);
    }

    pub(super) fn write(mut self, global: &Global) -> Result<(), Failure> {
        self.compare();
        match global.output {
            Format::Json => output::json(&self),
            Format::Text => self.write_text(),
        }
    }

    /// Medians and ratios.
    fn compare(&mut self) {
        let medians: BTreeMap<_, _> =
            self.runs.iter().map(|(kind, runs)| (*kind, StartFigures::median(runs))).collect();
        let ready = |kind| medians.get(&kind).and_then(|figures| figures.ready_ms);
        let ratio = |over: Option<f64>, under: Option<f64>| {
            over.zip(under).filter(|(_, under)| *under > 0.0).map(|(over, under)| over / under)
        };
        let network = |cold, stored| ready(cold).zip(ready(stored)).map(|(cold, stored)| cold - stored);
        self.ready_over_one = ratio(ready(Kind::Many), ready(Kind::One));
        self.stored_over_one = ratio(ready(Kind::ManyStored), ready(Kind::OneStored));
        self.network_over_one =
            ratio(network(Kind::Many, Kind::ManyStored), network(Kind::One, Kind::OneStored));
        let rows = self.runs.iter().map(|(kind, runs)| Row {
            start: *kind,
            ready_over_one: ratio(ready(*kind), ready(Kind::One)),
            median: medians[kind].clone(),
            runs: runs.clone(),
        });
        self.rows = rows.collect();
    }

    fn write_text(&self) -> Result<(), Failure> {
        output::table(&HEADER, self.rows.iter().map(|row| cells(row, self.vms)))?;
        output::line(&format!(
            "\n{} VMs, {} tree, transport {}, B {} Mbit/s; the image has {}, {} stored",
            self.vms,
            self.tree,
            self.transport,
            self.rate_bits_per_s / 1_000_000,
            output::bytes(self.image_bytes),
            output::bytes(self.stored_bytes)
        ))?;
        output::line(&format!(
            "All VMs ÷ one, with a profile: {}; with everything stored (CPU only): {}; the difference of both: {}",
            number(self.ready_over_one, 2),
            number(self.stored_over_one, 2),
            number(self.network_over_one, 2)
        ))
    }
}

const HEADER: [&str; 12] = [
    "",
    "ready ms",
    "median",
    "÷ one",
    "mounted",
    "origin/touched",
    "MB/VM",
    "waits/VM",
    "missed/VM",
    "wait p50",
    "p99 ms",
    "busy %",
];

fn cells(row: &Row, vms: u32) -> Vec<String> {
    let figures = &row.median;
    vec![
        row.start.label(vms),
        number(figures.ready_ms, 0),
        number(figures.ready_p50_ms, 0),
        number(row.ready_over_one, 2),
        number(figures.mounted_ms, 0),
        number(figures.origin_over_touched, 3),
        number(figures.moved_bytes_per_vm.map(|bytes| bytes / 1e6), 1),
        number(figures.waits_per_vm, 1),
        number(figures.missed_per_vm, 1),
        number(figures.demand_p50_ms, 1),
        number(figures.demand_p99_ms, 1),
        number(figures.cpu_busy_percent, 0),
    ]
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
