//! What is known of how fast one VM's link is, and what that says beside the others'.

use ft_proto::v1;

/// Below this part of the median, in percent, a figure is slow.
const SLOW_PERCENT: u128 = 70;
/// Above this part of the median, in percent, it is fine.
const FINE_PERCENT: u128 = 85;
/// Figures of so many others make a median.
const ENOUGH: usize = 2;

const _: () = assert!(SLOW_PERCENT < FINE_PERCENT && FINE_PERCENT <= 100);

/// What figures say beside the others'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    Nothing,
    Slow,
    Between,
    Fine,
}

/// Bytes per second, and how many children shared them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::slow) struct Rate {
    bytes_per_s: u64,
    children: u32,
}

impl Rate {
    /// What a worker reported, if it knows anything.
    pub(in crate::slow) fn reported(rate: v1::UploadRate) -> Option<Self> {
        let v1::UploadRate { bytes_per_s, children } = rate;
        (bytes_per_s > 0).then_some(Self { bytes_per_s, children })
    }

    fn per_child(self) -> u64 {
        self.bytes_per_s / u64::from(self.children.max(1))
    }
}

/// What is known of one VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Its link carries this or more.
    pub(super) shown: Option<Rate>,
    /// Its link carries no more to its children.
    pub(super) saturated: Option<Rate>,
    /// In bytes per second.
    pub(super) limit: Option<u64>,
}

impl Figures {
    /// What its link is known to carry. A limit alone says nothing of that: many are far above what the link can.
    fn carries(&self) -> Option<u64> {
        self.measured().map(|rate| rate.bytes_per_s.min(self.limit.unwrap_or(u64::MAX)))
    }

    /// What it is known to carry to each child.
    fn carries_to_each(&self) -> Option<u64> {
        self.measured().map(Rate::per_child).map(|each| each.min(self.limit.unwrap_or(u64::MAX)))
    }

    fn measured(&self) -> Option<Rate> {
        self.shown.into_iter().chain(self.saturated).max_by_key(|rate| rate.bytes_per_s)
    }

    /// A limit is certain. Beside that, only a link that has something for every child all the time can be found
    /// slow; and if each child gets what others' children get, then it is not this link that is slow: it has few
    /// children, and they have another parent.
    pub(super) fn say(&self, others: Others) -> Says {
        let Some(median) = others.carry else { return Says::Nothing };
        if self.limit.is_some_and(|limit| is_slow(limit, median)) {
            return Says::Slow;
        }
        let each = self.saturated.zip(others.carry_to_each);
        if let Some((saturated, each)) = each
            && is_slow(saturated.bytes_per_s, median)
            && is_slow(saturated.per_child(), each)
        {
            return Says::Slow;
        }
        let enough_for_each = each.is_some_and(|(saturated, each)| is_fine(saturated.per_child(), each));
        match self.carries() {
            Some(own) if enough_for_each || is_fine(own, median) => Says::Fine,
            Some(_) if self.saturated.is_some() => Says::Between,
            Some(_) | None => Says::Nothing,
        }
    }

    /// Whether what was shown is enough to call it fine.
    pub(super) fn is_shown_fine(&self, others: Others) -> bool {
        self.shown.zip(others.carry).is_some_and(|(shown, median)| is_fine(shown.bytes_per_s, median))
    }

    /// Why it is slow, if it is.
    pub(super) fn why(&self, others: Others) -> String {
        let mbit = |bytes: Option<u64>| bytes.unwrap_or(0) / 125_000;
        let own = self.saturated.map(|rate| rate.bytes_per_s).into_iter().chain(self.limit).min();
        format!("its link carries {} Mbit/s, others' {} Mbit/s", mbit(own), mbit(others.carry))
    }
}

fn is_slow(figure: u64, median: u64) -> bool {
    u128::from(figure) * 100 < u128::from(median) * SLOW_PERCENT
}

fn is_fine(figure: u64, median: u64) -> bool {
    u128::from(figure) * 100 > u128::from(median) * FINE_PERCENT
}

/// The medians of all VMs but one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Others {
    carry: Option<u64>,
    carry_to_each: Option<u64>,
}

/// All VMs' figures, in order.
#[derive(Debug)]
pub(super) struct All {
    carry: Vec<u64>,
    carry_to_each: Vec<u64>,
}

impl All {
    pub(super) fn of(figures: &[Figures]) -> Self {
        let mut carry: Vec<u64> = figures.iter().filter_map(Figures::carries).collect();
        let mut carry_to_each: Vec<u64> = figures.iter().filter_map(Figures::carries_to_each).collect();
        carry.sort_unstable();
        carry_to_each.sort_unstable();
        Self { carry, carry_to_each }
    }

    /// The medians of all but this one of them.
    pub(super) fn but(&self, own: &Figures) -> Others {
        Others {
            carry: median_without(&self.carry, own.carries()),
            carry_to_each: median_without(&self.carry_to_each, own.carries_to_each()),
        }
    }
}

/// The median, the lower one of two, of ascending figures without one of them; none if too few are left.
fn median_without(figures: &[u64], own: Option<u64>) -> Option<u64> {
    let own = own.and_then(|own| figures.binary_search(&own).ok());
    let others = figures.len() - usize::from(own.is_some());
    let middle = others.checked_sub(1)? / 2;
    let skipped = own.is_some_and(|own| own <= middle);
    (others >= ENOUGH).then(|| figures.get(middle + usize::from(skipped)).copied()).flatten()
}
