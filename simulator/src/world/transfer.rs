//! How blocks pass from one VM to another: a demanded block overtakes what is queued, one that is being sent
//! is finished, and what a child does not take holds up nobody but that child.

use ft_core::relay::{Class, Input};
use ft_core::{BlockIndex, VmId};

use super::host::{Lie, Outgoing};
use super::session::{Message, SessionId};
use super::{Event, Life, World, id};
use crate::seen::{Seen, Watch};

/// Blocks on the wire of one session before the sender waits: a connection's window, 4 MiB.
const WINDOW: u32 = 8;

impl<W: Watch> World<W> {
    /// A block for a child waits for the uplink.
    pub(super) fn queue_block(&mut self, vm: usize, child: VmId, block: BlockIndex, class: Class) {
        let Some(&session) = self.hosts[vm].accepted.get(&child) else {
            let of = self.life(vm);
            self.backlog.push_back((of, Input::Sent { child, block }));
            return;
        };
        self.queued += 1;
        let (number, pushed) = (self.queued, class != Class::Demand);
        self.hosts[vm].uplink.insert(Outgoing { pushed, number, session, block, class });
        self.use_uplink(vm);
    }

    /// Puts the next block on the wire, if the uplink is free.
    pub(super) fn use_uplink(&mut self, vm: usize) {
        while self.hosts[vm].sending.is_none() {
            let Some(next) = self.hosts[vm].uplink.pop_first() else { return };
            let session = &mut self.sessions[next.session.0];
            if !session.alive {
                self.give_up(vm, next);
                continue;
            }
            if session.on_the_wire >= WINDOW {
                session.held_back.push(next);
                continue;
            }
            let child = id(session.child.vm);
            let Some(content) = self.read_disk(vm, next.block) else {
                self.give_up(vm, next);
                continue;
            };
            self.see(&Seen::Relayed { vm: id(vm), child, block: next.block, content });
            self.hosts[vm].sending = Some((next, content));
            let takes = self.hosts[vm].up.span(self.setup.image.stored_len(next.block));
            let of = self.life(vm);
            self.after(takes, Event::Uplinked(of));
        }
    }

    /// A block is not sent: the engine hears that it is done with, unless its session has ended.
    fn give_up(&mut self, vm: usize, block: Outgoing) {
        let child = id(self.sessions[block.session.0].child.vm);
        if self.hosts[vm].accepted.get(&child) == Some(&block.session) {
            let of = self.life(vm);
            self.backlog.push_back((of, Input::Sent { child, block: block.block }));
        }
    }

    /// The block has left.
    pub(super) fn uplinked(&mut self, of: Life) {
        if !self.is_current(of) {
            return;
        }
        let Some((sent, content)) = self.hosts[of.vm].sending.take() else { return };
        let child = self.sessions[sent.session.0].child;
        if self.sessions[sent.session.0].alive {
            let len = self.setup.image.stored_len(sent.block);
            let received = self.hosts[child.vm].down.take_in(self.now, len);
            let arrives = received + self.delay();
            let content = match self.hosts[of.vm].lie {
                Some(Lie::WrongBytes) if self.dice.lies.one_in(2) => Some(!content),
                Some(Lie::Silence) => None,
                _ => Some(content),
            };
            if let Some(content) = content {
                self.sessions[sent.session.0].on_the_wire += 1;
                self.say(sent.session, arrives, Message::Block(sent.block, content, sent.class));
            }
        }
        self.give_up(of.vm, sent);
        self.use_uplink(of.vm);
    }

    /// The child has taken a block off the wire.
    pub(super) fn took(&mut self, session: SessionId) {
        let session = &mut self.sessions[session.0];
        session.on_the_wire -= 1;
        let (parent, held_back) = (session.parent, std::mem::take(&mut session.held_back));
        if !held_back.is_empty() && self.is_current(parent) {
            self.hosts[parent.vm].uplink.extend(held_back);
            self.use_uplink(parent.vm);
        }
    }
}
