//! What `ft bench cluster` prints.

use serde::Serialize;

use super::figures::Figures;
use super::rival::RivalFigures;
use crate::args::{ClusterArgs, Global, name_of};
use crate::failure::Failure;
use crate::output::{self, Format};

/// Above this, the machine is measured and not its links.
const BUSY_PERCENT: f64 = 80.0;

/// The object of `-o json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    vms: u32,
    rate_bits_per_s: u64,
    stored_bytes: u64,
    tree: String,
    transport: String,
    mode: String,
    /// Medians over the runs that no fault disturbed.
    #[serde(flatten)]
    median: Figures,
    runs: Vec<Figures>,
    /// Medians over the runs with a fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault_median: Option<Figures>,
    /// T with the fault ÷ T without, of those that the fault did not strike.
    #[serde(skip_serializing_if = "Option::is_none")]
    t_over_undisturbed: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fault_runs: Vec<Figures>,
    /// The same bytes over the same links by other means, once each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peers: Vec<RivalFigures>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Report {
    pub(super) fn new(args: &ClusterArgs, function: &ft_proto::v1::Function) -> Self {
        Self {
            vms: args.vms,
            rate_bits_per_s: args.rate.bits(),
            stored_bytes: function.stored_bytes,
            tree: name_of(args.tree),
            transport: name_of(args.transport),
            mode: name_of(args.mode),
            median: Figures::default(),
            runs: Vec::new(),
            fault_median: None,
            t_over_undisturbed: None,
            fault_runs: Vec::new(),
            peers: Vec::new(),
            causes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// A run, and why containers failed in it.
    pub(super) fn add(&mut self, figures: Figures, causes: Vec<String>) {
        self.runs.push(figures);
        self.median = Figures::median(&self.runs);
        self.causes.extend(causes);
    }

    /// A run with a fault.
    pub(super) fn add_with_fault(&mut self, figures: Figures, causes: Vec<String>) {
        self.fault_runs.push(figures);
        let median = Figures::median(&self.fault_runs);
        self.t_over_undisturbed =
            median.seconds.zip(self.median.seconds).map(|(with, without)| with / without);
        self.fault_median = Some(median);
        self.causes.extend(causes);
    }

    /// A rival's figures, `with_fault`: under the fault that ours had.
    pub(super) fn add_rival(&mut self, figures: RivalFigures, with_fault: bool) {
        let ours = self.fault_median.as_ref().filter(|_| with_fault).unwrap_or(&self.median);
        let t_over_ours = ours.seconds.map(|ours| figures.seconds / ours);
        self.peers.push(RivalFigures { t_over_ours, ..figures });
    }

    pub(super) fn write(mut self, global: &Global) -> Result<(), Failure> {
        let medians = [Some(&self.median), self.fault_median.as_ref()];
        let busy = medians.into_iter().flatten().filter_map(|figures| figures.cpu_busy_percent);
        if let Some(busy) = busy.reduce(f64::max).filter(|busy| *busy > BUSY_PERCENT) {
            self.warnings.push(format!(
                "the CPU was {busy:.0}% busy: this measures the machine, not the links; use fewer --vms or a lower --rate"
            ));
        }
        match global.output {
            Format::Json => output::json(&self),
            Format::Text => self.write_text(),
        }
    }

    fn write_text(&self) -> Result<(), Failure> {
        let mut rows = Vec::new();
        rows.extend(self.runs.iter().enumerate().map(|(nth, run)| row(&format!("run {}", nth + 1), run)));
        rows.push(row("median", &self.median));
        let faults = self.fault_runs.iter().enumerate();
        rows.extend(faults.map(|(nth, run)| row(&format!("fault {}", nth + 1), run)));
        rows.extend(self.fault_median.iter().map(|median| row("fault median", median)));
        rows.extend(self.peers.iter().map(rival_row));
        output::table(&HEADER, rows)?;
        output::line(&format!(
            "\n{} VMs, {} tree, transport {}, mode {}; S {} stored, B {} Mbit/s, S/B {:.2} s",
            self.vms,
            self.tree,
            self.transport,
            self.mode,
            output::bytes(self.stored_bytes),
            self.rate_bits_per_s / 1_000_000,
            self.stored_bytes as f64 * 8.0 / self.rate_bits_per_s as f64
        ))?;
        if let Some(ratio) = self.t_over_undisturbed {
            let struck = self.fault_median.as_ref().and_then(|median| median.struck_over_bound);
            let struck =
                struck.map_or_else(String::new, |t| format!("; those it struck: T ÷ (S/B) = {t:.3}"));
            output::line(&format!("With the fault, T is {ratio:.3} × undisturbed{struck}"))?;
        }
        for peer in &self.peers {
            let times = peer.t_over_ours.unwrap_or(f64::NAN);
            output::line(&format!("{} takes {times:.2} × as long as ours", peer.name))?;
        }
        self.causes.iter().try_for_each(|cause| output::line(&format!("failed: {cause}")))?;
        self.warnings.iter().try_for_each(|warning| output::line(&format!("warning: {warning}")))
    }
}

const HEADER: [&str; 12] = [
    "",
    "T s",
    "T/(S/B)",
    "median",
    "CPU s/GB",
    "RSS MiB",
    "origin/S",
    "demand p50",
    "p99 ms",
    "ready ms",
    "failed",
    "busy %",
];

fn row(name: &str, figures: &Figures) -> Vec<String> {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    vec![
        name.to_owned(),
        number(figures.seconds, 2),
        number(figures.t_over_bound, 3),
        number(figures.median_over_bound, 3),
        number(figures.cpu_s_per_gb, 2),
        number(figures.rss_peak_mb, 0),
        number(figures.origin_bytes_over_image, 3),
        number(figures.demand_p50_ms, 1),
        number(figures.demand_p99_ms, 1),
        number(figures.ready_last_ms, 0),
        number(figures.failed, 0),
        number(figures.cpu_busy_percent, 0),
    ]
}

fn rival_row(rival: &RivalFigures) -> Vec<String> {
    row(
        rival.name,
        &Figures {
            seconds: Some(rival.seconds),
            t_over_bound: Some(rival.t_over_bound),
            median_over_bound: Some(rival.median_over_bound),
            cpu_s_per_gb: Some(rival.cpu_s_per_gb),
            cpu_busy_percent: Some(rival.cpu_busy_percent),
            ..Figures::default()
        },
    )
}
