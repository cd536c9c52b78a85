//! The origin: one uplink, requests served in the order in which they come, and what can be wrong with it.

use ft_core::relay::{Input, Rejection, Source};
use ft_core::{BlockIndex, Instant};

use super::link::Lane;
use super::{Event, Life, World};
use crate::seen::Watch;

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Block,
    WrongBytes,
    Error,
}

/// What is wrong with the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    /// Every request fails.
    Errors,
    /// No request is answered.
    Silence,
}

#[derive(Debug)]
pub(super) struct Origin {
    pub(super) up: Lane,
    pub(super) outage: Option<Outage>,
}

impl Origin {
    pub(super) fn new(rate: u64) -> Self {
        Self { up: Lane::new(rate), outage: None }
    }
}

impl<W: Watch> World<W> {
    pub(super) fn ask_origin(&mut self, vm: usize, block: BlockIndex) {
        let (of, asked) = (self.life(vm), self.now + self.delay());
        let Some(answer) = self.draw_answer(vm) else { return };
        let sent = match answer {
            Answer::Error => asked,
            Answer::Block | Answer::WrongBytes => {
                self.origin.up.pass(asked, self.setup.image.stored_len(block))
            }
        };
        self.queue.push(sent, Event::OriginSent(of, block, answer));
    }

    /// What becomes of a request; `None` if nothing ever does.
    fn draw_answer(&mut self, vm: usize) -> Option<Answer> {
        if !self.reaches_origin(vm) {
            return None;
        }
        match self.origin.outage {
            Some(Outage::Silence) => return None,
            Some(Outage::Errors) => return Some(Answer::Error),
            None => {}
        }
        if self.calm {
            return Some(Answer::Block);
        }
        let odds = self.setup.odds;
        if self.dice.origin.one_in(odds.origin_stall) {
            None
        } else if self.dice.origin.one_in(odds.origin_error) {
            Some(Answer::Error)
        } else if self.dice.origin.one_in(odds.origin_lie) {
            Some(Answer::WrongBytes)
        } else {
            Some(Answer::Block)
        }
    }

    pub(super) fn origin_sent(&mut self, of: Life, block: BlockIndex, answer: Answer) {
        if !self.is_current(of) || !self.reaches_origin(of.vm) {
            return;
        }
        let received = match answer {
            Answer::Error => self.now,
            Answer::Block | Answer::WrongBytes => {
                let len = self.setup.image.stored_len(block);
                self.hosts[of.vm].down.take_in(self.now, len)
            }
        };
        let arrives: Instant = received + self.delay();
        self.queue.push(arrives, Event::OriginAnswer(of, block, answer));
    }

    pub(super) fn origin_answer(&mut self, of: Life, block: BlockIndex, answer: Answer) {
        let Some(truth) = self.setup.image.truth(block) else { return };
        match answer {
            Answer::Block => self.ingest(of, block, truth, Source::Origin),
            Answer::WrongBytes => self.ingest(of, block, !truth, Source::Origin),
            Answer::Error => {
                let from = Source::Origin;
                self.input(of, Input::Rejected { block, from, why: Rejection::Failed });
            }
        }
    }
}
