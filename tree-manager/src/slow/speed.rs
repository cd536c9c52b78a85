//! Which VMs' links are so slow that whoever receives from them is held up.
//!
//! A VM is slow when its figures have said so for a moment, and not before they have said for longer that it is fine
//! is it so no more. A VM without children measures nothing: after a while it gets another trial, after each relapse
//! a later one.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use ft_core::VmId;
use ft_proto::v1::VmLimits;

mod figures;

pub(super) use figures::Rate;
use figures::{All, Figures, Others, Says};

/// A VM is slow when two of its heartbeats say so that are so far apart, and those between. A worker sends two at least
/// this far apart when its figures are new.
const NOTICE: Duration = Duration::from_millis(350);
/// So many heartbeats that said different things are remembered.
const HEARTBEATS: usize = 8;
/// A slow VM is fine when its figures have said so for so long.
const STEADY: Duration = Duration::from_secs(5);
/// A slow VM of which nothing is known gets another trial after so long, doubled for each relapse.
const TRIAL: Duration = Duration::from_secs(30);
/// It is doubled so often at most: 16 min.
const MAX_DOUBLED: u32 = 5;

/// All VMs' figures, and which VMs are slow by them.
#[derive(Debug, Default)]
pub(super) struct Speeds(BTreeMap<VmId, Speed>);

#[derive(Debug, Default)]
struct Speed {
    figures: Figures,
    /// Why it is slow, if it is.
    slow: Option<String>,
    /// What its figures say, and since when.
    says: Option<(Says, Instant)>,
    /// The last heartbeats, the latest first.
    heartbeats: VecDeque<Run>,
    /// How often it became slow since it was last fine.
    relapses: u32,
    /// What is shown was shown before it became slow, and says nothing of it now.
    outdated: bool,
}

/// Heartbeats in a row that said the same, and when the first and the last of them came.
#[derive(Debug)]
struct Run {
    figures: Figures,
    first: Instant,
    last: Instant,
}

impl Speeds {
    /// What a worker measured lately.
    pub(super) fn measured(&mut self, vm: VmId, shown: Option<Rate>, saturated: Option<Rate>, now: Instant) {
        let Speed { figures, heartbeats, .. } = self.0.entry(vm).or_default();
        (figures.shown, figures.saturated) = (shown, saturated);
        match heartbeats.front_mut() {
            Some(run) if run.figures == *figures => run.last = now,
            _ => heartbeats.push_front(Run { figures: *figures, first: now, last: now }),
        }
        heartbeats.truncate(HEARTBEATS);
    }

    /// The limits of a VM's traffic. What it cannot receive, it cannot pass on.
    pub(super) fn limited(&mut self, vm: VmId, limits: VmLimits) {
        let limits = [limits.upload_bytes_per_s, limits.download_bytes_per_s];
        self.0.entry(vm).or_default().figures.limit = limits.into_iter().filter(|limit| *limit > 0).min();
    }

    /// The VM is gone.
    pub(super) fn forget(&mut self, vm: VmId) {
        self.0.remove(&vm);
    }

    /// The VMs that are slow now, and why.
    pub(super) fn judge(&mut self, now: Instant) -> BTreeMap<VmId, String> {
        let figures: Vec<Figures> = self.0.values().map(|speed| speed.figures).collect();
        let all = All::of(&figures);
        for speed in self.0.values_mut() {
            speed.judge(all.but(&speed.figures), now);
        }
        self.0.iter().filter_map(|(vm, speed)| Some((*vm, speed.slow.clone()?))).collect()
    }
}

impl Speed {
    fn judge(&mut self, others: Others, now: Instant) {
        self.outdated &= self.figures.is_shown_fine(others);
        let says = match self.outdated {
            true => Figures { shown: None, ..self.figures }.say(others),
            false => self.figures.say(others),
        };
        let since = match self.says {
            Some((before, since)) if before == says => since,
            _ => now,
        };
        self.says = Some((says, since));
        let span = now.saturating_duration_since(since);
        let trial = TRIAL * 2u32.pow(self.relapses.saturating_sub(1).min(MAX_DOUBLED));
        match (says, self.slow.is_some()) {
            (Says::Slow, false) if self.has_said_slow(others) => {
                self.slow = Some(self.figures.why(others));
                self.relapses = self.relapses.saturating_add(1);
                self.outdated = true;
            }
            (Says::Fine, true) if span >= STEADY => {
                self.slow = None;
                self.relapses = 0;
            }
            (Says::Nothing, true) if span >= trial => self.slow = None,
            _ => {}
        }
    }
}

impl Speed {
    /// Whether the last heartbeats say for long enough that it is slow, by what is known of the others now: they may have
    /// begun to send later.
    fn has_said_slow(&self, others: Others) -> bool {
        let limit = self.figures.limit;
        let say = |figures: Figures| Figures { limit, ..figures }.say(others);
        let slow = self.heartbeats.iter().take_while(|run| say(run.figures) == Says::Slow);
        let last = self.heartbeats.front().map(|run| run.last);
        slow.last().zip(last).is_some_and(|(run, last)| last.saturating_duration_since(run.first) >= NOTICE)
    }
}

#[cfg(test)]
mod tests;
