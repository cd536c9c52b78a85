//! What peers say that speak garbage.

use ft_core::relay::{Ask, BlockSet, Class, StripeSet, Subscription};
use ft_core::{BlockIndex, Instant};

use super::World;
use super::fault::Lie;
use super::session::{Message, SessionId};
use crate::rng::Rng;
use crate::seen::Watch;

impl<W: Watch> World<W> {
    /// A session with a peer that speaks garbage, at either end.
    pub(super) fn speak_garbage(&mut self, session: SessionId) {
        let (child, parent) = (self.sessions[session.0].child.vm, self.sessions[session.0].parent.vm);
        let end = self.setup.image.layout.len();
        let any = |dice: &mut Rng| BlockIndex(dice.small(0, end + 2));
        if self.hosts[parent].lie == Some(Lie::Garbage) {
            for _ in 0..4 {
                let (block, at) = (any(&mut self.dice.lies), self.now + self.delay());
                if self.dice.lies.one_in(2) {
                    self.say(session, at, Message::Refuse(block));
                } else {
                    self.sessions[session.0].on_the_wire += 1;
                    self.say(session, at, Message::Block(block, 0xBAD, Class::Rest));
                }
            }
        }
        if self.hosts[child].lie == Some(Lie::Garbage) {
            let of = self.dice.lies.small(0, 3);
            let subscription = Subscription {
                stripes: StripeSet(0xff),
                of: u8::try_from(of).unwrap_or(0),
                have: BlockSet::new(self.dice.lies.small(0, end + 9)),
            };
            let at: Instant = self.now + self.delay();
            self.say(session, at, Message::Subscribe(subscription));
            for again in [false, true] {
                let ask = Ask { class: Class::Demand, may_fetch: true, again };
                let block = any(&mut self.dice.lies);
                self.say(session, at, Message::Ask(block, ask));
                let other = any(&mut self.dice.lies);
                self.say(session, at, Message::Have(other));
            }
        }
    }
}
