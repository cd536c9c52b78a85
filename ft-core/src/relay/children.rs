//! What goes to one peer that takes blocks from this VM.

use alloc::collections::{BTreeMap, BTreeSet};

use super::config::Limits;
use super::event::{Class, StripeSet, Subscription};
use super::set::BlockSet;
use super::shelf::{Cursors, PUSH_CLASSES, Shelf, slot};
use crate::block::BlockIndex;
use crate::clock::Instant;

/// A peer that subscribed or asked. Holds block ids only, each at most once: what it waits for, what is
/// here and goes to it because it asked, and what the driver has in hand for it. Its pushes are cursors.
#[derive(Debug)]
pub(super) struct Child {
    /// The stripes it wants pushed, and of how many.
    pushes: Option<(StripeSet, u8)>,
    /// What it has, and what was handed to the driver for it in this session.
    has: BlockSet,
    cursors: Cursors,
    /// What it asked for and is not here.
    waiting: BTreeMap<BlockIndex, Class>,
    /// What it asked for and is here, in the order of service.
    answers: BTreeSet<(Class, u64, BlockIndex)>,
    /// The keys of `answers` by block.
    answer_keys: BTreeMap<BlockIndex, (Class, u64)>,
    answered: u64,
    /// What the driver has in hand.
    handed: BTreeMap<BlockIndex, Handed>,
    demands_in_hand: u32,
    /// Since when it has taken nothing, while the driver has something in hand.
    since: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Handed {
    class: Class,
    /// Whether the peer waits for it.
    asked: bool,
}

impl Child {
    /// A peer with an image of `len` indices.
    pub(super) fn new(len: u32) -> Self {
        Self {
            pushes: None,
            has: BlockSet::new(len),
            cursors: [0; PUSH_CLASSES.len()],
            waiting: BTreeMap::new(),
            answers: BTreeSet::new(),
            answer_keys: BTreeMap::new(),
            answered: 0,
            handed: BTreeMap::new(),
            demands_in_hand: 0,
            since: Instant::ZERO,
        }
    }

    pub(super) fn subscribe(&mut self, subscription: &Subscription) {
        self.pushes = Some((subscription.stripes, subscription.of));
        self.has.extend(&subscription.have);
        self.cursors = [0; PUSH_CLASSES.len()];
    }

    pub(super) fn unsubscribe(&mut self) {
        self.pushes = None;
    }

    /// It has `block`: it need not be sent.
    pub(super) fn got(&mut self, block: BlockIndex) {
        self.has.insert(block);
        self.waiting.remove(&block);
        self.withdraw_answer(block);
    }

    /// What was sent of `block` did not reach it, unless that is in the driver's hands yet.
    pub(super) fn lost(&mut self, block: BlockIndex) {
        if !self.handed.contains_key(&block) {
            self.has.remove(block);
        }
    }

    /// Whether it may ask for `block`: it has before, or asks for fewer than `most`.
    pub(super) fn may_ask(&self, block: BlockIndex, most: u32) -> bool {
        let asks = self.waiting.contains_key(&block) || self.answer_keys.contains_key(&block);
        asks || self.waiting.len() + self.answers.len() < most as usize
    }

    /// Whether it has `block`, or that is on its way to it.
    pub(super) fn has(&self, block: BlockIndex) -> bool {
        self.has.contains(block)
    }

    /// It waits for `block`, which is not here.
    pub(super) fn wait(&mut self, block: BlockIndex, class: Class) {
        let waits = self.waiting.entry(block).or_insert(class);
        *waits = class.min(*waits);
    }

    /// It is not to wait for `block` any more; how urgently it did.
    pub(super) fn stop_waiting(&mut self, block: BlockIndex) -> Option<Class> {
        self.waiting.remove(&block)
    }

    /// What it waits for.
    pub(super) fn waiting(&self) -> impl Iterator<Item = BlockIndex> + '_ {
        self.waiting.keys().copied()
    }

    /// It asked for `block`, which is here: queues it, ahead of less urgent things.
    pub(super) fn answer(&mut self, block: BlockIndex, class: Class) {
        if self.has.contains(block)
            || self.answer_keys.get(&block).is_some_and(|(queued, _)| *queued <= class)
        {
            return;
        }
        self.withdraw_answer(block);
        self.answered += 1;
        self.answers.insert((class, self.answered, block));
        self.answer_keys.insert(block, (class, self.answered));
    }

    fn withdraw_answer(&mut self, block: BlockIndex) -> bool {
        let Some((class, order)) = self.answer_keys.remove(&block) else { return false };
        self.answers.remove(&(class, order, block))
    }

    /// `block` is here no more; `true` if the peer waits for it and is to be refused.
    pub(super) fn dropped(&mut self, block: BlockIndex) -> bool {
        // Both, if it was dropped and back before while the driver had it in hand, and was asked for then.
        let answered = self.withdraw_answer(block);
        let Some(handed) = self.handed.get(&block) else { return answered };
        self.has.remove(block);
        answered || handed.asked
    }

    /// The shelf's log of `class` has lost the entry at `position`.
    pub(super) fn log_shrank(&mut self, class: Class, position: usize) {
        let cursor = &mut self.cursors[slot(class)];
        if *cursor > position {
            *cursor -= 1;
        }
    }

    /// The shelf's logs of the profile and the rest are others now: starts over, without what it has.
    pub(super) fn logs_changed(&mut self) {
        self.cursors[slot(Class::Profile)] = 0;
        self.cursors[slot(Class::Rest)] = 0;
    }

    /// The driver is done with `block` at `now`: it has been taken, unless the driver did not have it (`false`).
    pub(super) fn sent(&mut self, block: BlockIndex, now: Instant) -> bool {
        let taken = self.take_back(block);
        if taken {
            self.since = now;
        }
        taken
    }

    /// `block` is not in the driver's hands any more; `false` if it was not.
    fn take_back(&mut self, block: BlockIndex) -> bool {
        let Some(handed) = self.handed.remove(&block) else { return false };
        self.demands_in_hand -= u32::from(handed.class == Class::Demand);
        true
    }

    /// Since when it has taken nothing of what the driver has in hand for it; `None` if that is nothing.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (!self.handed.is_empty()).then_some(self.since)
    }

    /// Takes the next block to hand to the driver at `now` because a reader waits for it, if that window is open.
    pub(super) fn next_demanded(&mut self, limits: &Limits, now: Instant) -> Option<BlockIndex> {
        if self.demands_in_hand >= limits.demand_window.max(1) {
            return None;
        }
        let block = self.first_answer(Class::Demand)?;
        self.hand(block, Handed { class: Class::Demand, asked: true }, now);
        Some(block)
    }

    /// Takes the next other block to hand to the driver at `now`, if that window is open: class by class what
    /// was asked for, then what is pushed.
    pub(super) fn next_push(
        &mut self,
        shelf: &Shelf,
        limits: &Limits,
        now: Instant,
    ) -> Option<(BlockIndex, Class)> {
        let in_hand = self.handed.len() - self.demands_in_hand as usize;
        if in_hand >= limits.push_window.max(1) as usize {
            return None;
        }
        PUSH_CLASSES.into_iter().find_map(|class| {
            let answer = self.first_answer(class);
            let block = answer.or_else(|| self.next_logged(shelf, class))?;
            self.hand(block, Handed { class, asked: answer.is_some() }, now);
            Some((block, class))
        })
    }

    fn hand(&mut self, block: BlockIndex, how: Handed, now: Instant) {
        self.withdraw_answer(block);
        // It may have been dropped and be back before the driver gave the first sending up.
        self.take_back(block);
        if self.handed.is_empty() {
            self.since = now;
        }
        self.has.insert(block);
        self.handed.insert(block, how);
        self.demands_in_hand += u32::from(how.class == Class::Demand);
    }

    /// Whether a block that a reader below waits for is here and could be in the driver's hands, but is not.
    #[cfg(test)]
    pub(super) fn keeps_a_demand(&self, limits: &Limits) -> bool {
        let queued = self.first_answer(Class::Demand).is_some();
        queued && self.demands_in_hand < limits.demand_window.max(1)
    }

    /// Block ids that are kept for it beside what it has.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.waiting.len() + self.answers.len() + self.handed.len()
    }

    fn first_answer(&self, class: Class) -> Option<BlockIndex> {
        let (first, _, block) = self.answers.range((class, 0, BlockIndex(0))..).next()?;
        (*first == class).then_some(*block)
    }

    /// The next block of the shelf's log of `class` that is due.
    fn next_logged(&mut self, shelf: &Shelf, class: Class) -> Option<BlockIndex> {
        let (stripes, of) = self.pushes?;
        let cursor = &mut self.cursors[slot(class)];
        while let Some(&block) = shelf.log(class).get(*cursor) {
            *cursor += 1;
            let due = stripes.contains(block.stripe(of));
            // What it asked for goes out as an answer.
            if due && !self.has.contains(block) && !self.answer_keys.contains_key(&block) {
                return Some(block);
            }
        }
        None
    }
}
