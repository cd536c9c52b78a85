//! Watches a run: asks the checkers, hashes the log, keeps lines of it.

use std::rc::Rc;

use ft_core::Instant;

use super::{Keep, Violation};
use crate::check::{self, Broken, Check};
use crate::image::Image;
use crate::log::LogHash;
use crate::seen::{Seen, Watch};
use crate::world::Setup;

pub(super) struct Recorder<'a> {
    checks: Vec<Box<dyn Check>>,
    hash: LogHash,
    keep: Keep,
    line: &'a mut dyn FnMut(&str),
    now: Instant,
    violation: Option<Violation>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(image: &Rc<Image>, setup: &Setup, keep: Keep, line: &'a mut dyn FnMut(&str)) -> Self {
        Self {
            checks: check::all(image, &setup.limits, &setup.profile),
            hash: LogHash::new(),
            keep,
            line,
            now: Instant::ZERO,
            violation: None,
        }
    }

    /// The run is over.
    pub(super) fn end(&mut self, drained: bool, horizon: Instant) {
        if self.violation.is_some() {
            return;
        }
        let at = if drained { self.now } else { horizon };
        for check in &mut self.checks {
            if let Err(broken) = check.end(drained) {
                self.violation = Some(violation(check.name(), at, broken));
                return;
            }
        }
    }

    pub(super) fn finish(self) -> (u64, Option<Violation>) {
        (self.hash.get(), self.violation)
    }
}

fn violation(checker: &'static str, at: Instant, broken: Broken) -> Violation {
    let Broken { why, vm, block } = broken;
    Violation { checker, why, at, vm, block }
}

impl Watch for Recorder<'_> {
    fn see(&mut self, at: Instant, seen: &Seen<'_>) {
        if self.violation.is_some() {
            return;
        }
        self.now = at;
        self.hash.add(at, seen);
        if self.keep.keeps(seen) {
            (self.line)(&format!("{:>12.3} ms  {seen}", at.as_nanos() as f64 / 1e6));
        }
        for check in &mut self.checks {
            if let Err(broken) = check.see(at, seen) {
                let broken = Broken { vm: broken.vm.or(seen.vm()), ..broken };
                self.violation = Some(violation(check.name(), at, broken));
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.violation.is_some()
    }
}
