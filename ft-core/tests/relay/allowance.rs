//! What a VM that is no root may read from the origin, reckoned apart from the engine.

use ft_core::relay::{Edges, Limits};
use ft_core::{BlockIndex, Epoch, Instant, Stripe, VmId};

/// One VM's share of its tree's budget: a burst and a rate.
pub(crate) struct Allowance {
    limits: Limits,
    edges: Option<(Epoch, u32, Vec<Option<VmId>>)>,
    blocks: f64,
    at: Instant,
}

impl Allowance {
    pub(crate) fn new(limits: Limits) -> Self {
        let blocks = f64::from(limits.origin_budget_burst);
        Self { limits, edges: None, blocks, at: Instant::ZERO }
    }

    /// The VM hears of its edges.
    pub(crate) fn hear(&mut self, now: Instant, edges: &Edges) {
        if self.edges.as_ref().is_some_and(|(epoch, ..)| edges.epoch <= *epoch) {
            return;
        }
        self.pass(now);
        let parents = edges.stripes.iter().map(|stripe| stripe.parent).collect();
        self.edges = Some((edges.epoch, edges.vms, parents));
        self.blocks = self.blocks.min(self.burst());
    }

    /// The VM reads `block` from the origin.
    pub(crate) fn read(&mut self, now: Instant, vm: VmId, block: BlockIndex) {
        let Some((_, vms, parents)) = &self.edges else { return };
        let stripe = Stripe(u8::try_from(block.0 as usize % parents.len()).unwrap());
        let is_root = parents[usize::from(stripe.0)].is_none();
        if is_root || (1..=2).contains(vms) {
            return;
        }
        self.pass(now);
        self.blocks -= 1.0;
        assert!(self.blocks > -0.001, "{vm} reads more from the origin than its share");
    }

    fn share(&self, blocks: u32) -> f64 {
        let vms = self.edges.as_ref().map_or(1, |(_, vms, _)| *vms);
        f64::from(blocks) / f64::from(vms.max(1))
    }

    fn burst(&self) -> f64 {
        self.share(self.limits.origin_budget_burst).max(1.0)
    }

    fn pass(&mut self, now: Instant) {
        let floor = f64::from(self.limits.origin_budget_floor) / 1_000.0;
        let rate = self.share(self.limits.origin_budget_rate).max(floor);
        #[allow(clippy::cast_precision_loss, reason = "seconds of a short run")]
        let seconds = (now - self.at).as_nanos() as f64 / 1e9;
        self.blocks = (self.blocks + rate * seconds).min(self.burst());
        self.at = now;
    }
}
