//! What VMs say of each other, and who is held back for it.
//!
//! One VM that has lost another may be the one whose link is broken. So it takes two that say so, or one and the
//! broken command stream of the lost one's worker. A child that takes nothing is its parent's word alone, which
//! is enough, since nothing is taken from it but children; but a VM none of whose children takes anything is
//! itself what they have in common.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ft_core::VmId;

/// What was said counts for so long.
const COUNTS: Duration = Duration::from_secs(15);
/// For so long a VM is held back at first, from the last time on that there was reason to. Much longer than a parent
/// waits before it says that its child takes nothing (30 s): else it would have children again half of the time.
const HOLD: Duration = Duration::from_secs(90);
/// Twice as long each time that there is reason again, this many times at most.
const MAX_DOUBLED: u32 = 4;
/// It starts anew if a VM was not held back for so many times as long.
const FORGIVEN: u32 = 2;
/// What one VM says within [`COUNTS`] counts up to so many others.
const MAX_SAID: usize = 16;

/// What one VM says of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// Its child takes nothing.
    Stuck,
    /// The session with it broke, or cannot be made.
    Lost,
}

/// What was said lately, and who is held back.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    /// By what, of whom and by whom.
    said: BTreeMap<(What, VmId, VmId), Instant>,
    held: BTreeMap<VmId, Held>,
}

/// A VM that is held back, or was.
#[derive(Debug)]
struct Held {
    until: Instant,
    why: String,
    /// How often there was reason again after it had ended.
    relapses: u32,
}

impl Held {
    fn span(&self) -> Duration {
        HOLD * 2u32.pow(self.relapses.min(MAX_DOUBLED))
    }
}

impl Witnesses {
    /// `by` says something of `of`, whose worker has a session with the manager or has not.
    pub(super) fn hear(&mut self, what: What, of: VmId, by: VmId, connected: bool, now: Instant) {
        self.said.retain(|_, at| now.saturating_duration_since(*at) < COUNTS);
        if self.said.keys().filter(|(_, _, other)| *other == by).count() >= MAX_SAID {
            return;
        }
        self.said.insert((what, of, by), now);
        match what {
            What::Stuck => {
                let stuck = self.said.keys().filter(|(what, _, other)| *what == What::Stuck && *other == by);
                if stuck.count() > 1 {
                    self.hold(by, "none of its children takes anything from it".to_owned(), now);
                } else {
                    self.hold(of, format!("it takes nothing from {by}"), now);
                }
            }
            What::Lost => {
                let lost = self.said.range((What::Lost, of, VmId(0))..=(What::Lost, of, VmId(u64::MAX)));
                let by: Vec<String> = lost.map(|((_, _, by), _)| by.to_string()).collect();
                if by.len() > 1 || !connected {
                    self.hold(of, format!("{} lost it", by.join(", ")), now);
                }
            }
        }
    }

    fn hold(&mut self, vm: VmId, why: String, now: Instant) {
        let held = self.held.entry(vm).or_insert(Held { until: now, why: String::new(), relapses: 0 });
        if held.until < now {
            held.relapses += 1;
        }
        (held.until, held.why) = (now + held.span(), why);
    }

    /// The VM is gone.
    pub(super) fn forget(&mut self, vm: VmId) {
        self.held.remove(&vm);
        self.said.retain(|(_, of, by), _| *of != vm && *by != vm);
    }

    /// Who is held back now, and why.
    pub(super) fn judge(&mut self, now: Instant) -> BTreeMap<VmId, String> {
        self.held.retain(|_, held| held.until + held.span() * FORGIVEN > now);
        let held = self.held.iter().filter(|(_, held)| held.until > now);
        held.map(|(vm, held)| (*vm, held.why.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(witnesses: &mut Witnesses, now: Instant) -> Vec<u64> {
        witnesses.judge(now).keys().map(|vm| vm.0).collect()
    }

    #[test]
    fn it_takes_two_to_say_that_a_vm_is_lost() {
        let now = Instant::now();
        let mut witnesses = Witnesses::default();
        let lost = |witnesses: &mut Witnesses, of, by, connected, at| {
            witnesses.hear(What::Lost, VmId(of), VmId(by), connected, at);
        };
        for at in [now, now + COUNTS / 2] {
            lost(&mut witnesses, 1, 2, true, at);
        }
        assert!(held(&mut witnesses, now).is_empty(), "the same one twice is one");
        lost(&mut witnesses, 1, 3, true, now + 2 * COUNTS);
        assert!(held(&mut witnesses, now + 2 * COUNTS).is_empty(), "the first is forgotten");
        lost(&mut witnesses, 1, 4, true, now + 2 * COUNTS);
        assert_eq!(held(&mut witnesses, now + 2 * COUNTS), [1]);
        assert!(held(&mut witnesses, now + 2 * COUNTS + HOLD).is_empty());
        let later = now + 2 * COUNTS + HOLD;
        lost(&mut witnesses, 5, 2, false, later);
        assert_eq!(held(&mut witnesses, later), [5], "its worker's stream broke too");
        witnesses.forget(VmId(5));
        assert!(held(&mut witnesses, later).is_empty());
    }

    #[test]
    fn one_that_lost_everybody_is_what_they_have_in_common() {
        let now = Instant::now();
        let mut witnesses = Witnesses::default();
        for other in 2..=5 {
            witnesses.hear(What::Lost, VmId(other), VmId(1), true, now);
            witnesses.hear(What::Lost, VmId(1), VmId(other), true, now);
        }
        assert_eq!(held(&mut witnesses, now), [1]);
    }

    #[test]
    fn a_stuck_child_is_held_back_and_a_parent_of_several() {
        let now = Instant::now();
        let mut witnesses = Witnesses::default();
        witnesses.hear(What::Stuck, VmId(2), VmId(1), true, now);
        assert_eq!(held(&mut witnesses, now), [2]);
        witnesses.hear(What::Stuck, VmId(3), VmId(1), true, now);
        assert_eq!(held(&mut witnesses, now), [1, 2], "not the second child, but the parent");
    }

    #[test]
    fn one_that_is_stuck_again_and_again_is_held_back_for_longer_and_longer() {
        let (mut witnesses, mut now) = (Witnesses::default(), Instant::now());
        // Its next parent says so after 30 s.
        let stuck_after = Duration::from_secs(30);
        for doubled in [1, 2, 4, 8, 16, 16] {
            witnesses.hear(What::Stuck, VmId(2), VmId(1), true, now);
            let end = now + HOLD * doubled;
            assert_eq!(held(&mut witnesses, end - Duration::from_secs(1)), [2], "{doubled}");
            assert!(held(&mut witnesses, end).is_empty(), "{doubled}");
            now = end + stuck_after;
        }
        now += HOLD * 16 * FORGIVEN;
        assert!(held(&mut witnesses, now).is_empty());
        witnesses.hear(What::Stuck, VmId(2), VmId(1), true, now);
        assert!(held(&mut witnesses, now + HOLD).is_empty(), "it starts anew");
    }

    #[test]
    fn one_vm_cannot_say_everything_of_everybody() {
        let now = Instant::now();
        let mut witnesses = Witnesses::default();
        for other in 2..1000 {
            witnesses.hear(What::Lost, VmId(other), VmId(1), false, now);
        }
        assert_eq!(held(&mut witnesses, now).len(), MAX_SAID);
    }
}
