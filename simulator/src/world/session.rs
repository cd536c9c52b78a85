//! Connections and what is said over them. A session is made by a child with its parent, and ends for good.

use ft_core::relay::{Ask, Class, Input, Rejection, Source, Subscription};
use ft_core::{BlockIndex, Duration, Instant, VmId};

use super::host::{Lie, Outgoing};
use super::{Event, Life, World, id};
use crate::image::Content;
use crate::seen::Watch;

/// After so long a silence a peer counts as dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionId(pub(super) usize);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) child: Life,
    pub(super) parent: Life,
    pub(super) alive: bool,
    /// Until then nothing gets through.
    pub(super) frozen: Instant,
    /// When the last message of each lane arrives: a lane keeps its order.
    lanes: [Instant; 3],
    /// Blocks that have left the parent and not reached the child.
    pub(super) on_the_wire: u32,
    /// Blocks that wait until the child has taken others.
    pub(super) held_back: Vec<Outgoing>,
}

/// Messages of one lane arrive in the order in which they were sent.
#[derive(Clone, Copy, Debug)]
enum Way {
    FromChild,
    /// Pushes, and refusals.
    Push,
    Demand,
}

#[derive(Debug)]
pub(super) enum Message {
    Subscribe(Subscription),
    Unsubscribe,
    Ask(BlockIndex, Ask),
    Have(BlockIndex),
    Block(BlockIndex, Content, Class),
    Refuse(BlockIndex),
}

impl Session {
    /// Whoever takes `message`.
    pub(super) fn receiver(&self, message: &Message) -> Life {
        match message.way() {
            Way::FromChild => self.parent,
            Way::Push | Way::Demand => self.child,
        }
    }
}

impl Message {
    fn way(&self) -> Way {
        match self {
            Self::Block(_, _, Class::Demand) => Way::Demand,
            Self::Block(..) | Self::Refuse(_) => Way::Push,
            _ => Way::FromChild,
        }
    }
}

impl<W: Watch> World<W> {
    /// A worker begins to make a session.
    pub(super) fn dial(&mut self, vm: usize, parent: VmId) {
        let (child, delay) = (self.life(vm), self.delay());
        let Some(to) = self.number(parent) else {
            self.queue.push(self.now + delay, Event::Input(child, Input::PeerDown(parent)));
            return;
        };
        let session = SessionId(self.sessions.len());
        self.sessions.push(Session {
            child,
            parent: self.life(to),
            alive: true,
            frozen: Instant::ZERO,
            lanes: [Instant::ZERO; 3],
            on_the_wire: 0,
            held_back: Vec::new(),
        });
        self.hosts[vm].made.insert(parent, session);
        let lost = !self.calm && self.dice.dials.one_in(self.setup.odds.silent_dial);
        if !lost && self.is_reachable(vm, to) {
            self.after(delay, Event::Dial(session));
        }
    }

    /// The attempt arrives.
    pub(super) fn dialled(&mut self, session: SessionId) {
        let Session { child, parent, alive, .. } = self.sessions[session.0];
        if !alive || !self.is_reachable(child.vm, parent.vm) {
            return;
        }
        let delay = self.delay();
        if self.hosts[parent.vm].engine.is_none() {
            // The host is there; its worker is not.
            self.sessions[session.0].alive = false;
            self.after(delay, Event::Notice { session, at_child: true });
            return;
        }
        self.sessions[session.0].parent = self.life(parent.vm);
        let parent = self.life(parent.vm);
        if let Some(old) = self.hosts[parent.vm].accepted.insert(id(child.vm), session) {
            self.sessions[old.0].alive = false;
            self.backlog.push_back((parent, Input::ChildDown(id(child.vm))));
        }
        self.after(delay, Event::Up(session));
    }

    /// The answer arrives.
    pub(super) fn up(&mut self, session: SessionId) {
        let Session { child, parent, alive, .. } = self.sessions[session.0];
        let peer = id(parent.vm);
        if alive && self.is_current(child) && self.hosts[child.vm].made.get(&peer) == Some(&session) {
            self.input(child, Input::PeerUp(peer));
            self.speak_garbage(session);
        }
    }

    /// A worker ends a session that it made.
    pub(super) fn disconnect(&mut self, vm: usize, parent: VmId) {
        if let Some(session) = self.hosts[vm].made.remove(&parent) {
            self.sessions[session.0].alive = false;
            let delay = self.delay();
            self.after(delay, Event::Notice { session, at_child: false });
        }
    }

    /// A session ends by itself; both ends notice: soon, or by the other's silence.
    pub(super) fn break_session(&mut self, session: SessionId, silent: bool) {
        if !std::mem::replace(&mut self.sessions[session.0].alive, false) {
            return;
        }
        for at_child in [false, true] {
            let notice = if silent { IDLE_TIMEOUT } else { Duration::ZERO } + self.delay();
            self.after(notice, Event::Notice { session, at_child });
        }
    }

    pub(super) fn notice(&mut self, session: SessionId, at_child: bool) {
        let Session { child, parent, .. } = self.sessions[session.0];
        let (of, peer) = if at_child { (child, id(parent.vm)) } else { (parent, id(child.vm)) };
        if !self.is_current(of) {
            return;
        }
        let host = &mut self.hosts[of.vm];
        let sessions = if at_child { &mut host.made } else { &mut host.accepted };
        if sessions.get(&peer) == Some(&session) {
            sessions.remove(&peer);
            self.input(of, if at_child { Input::PeerDown(peer) } else { Input::ChildDown(peer) });
        }
    }

    pub(super) fn say_to_parent(&mut self, vm: usize, parent: VmId, message: Message) {
        // The engine may speak to a peer whose session has just ended.
        if let Some(&session) = self.hosts[vm].made.get(&parent) {
            let arrives = self.now + self.delay();
            self.say(session, arrives, message);
        }
    }

    pub(super) fn say_to_child(&mut self, vm: usize, child: VmId, message: Message) {
        let Some(&session) = self.hosts[vm].accepted.get(&child) else { return };
        if self.hosts[vm].lie == Some(Lie::Silence) {
            return;
        }
        let arrives = self.now + self.delay();
        self.say(session, arrives, message);
    }

    /// Sends a message that arrives then, or when it is its turn.
    pub(super) fn say(&mut self, id: SessionId, arrives: Instant, message: Message) {
        let session = &mut self.sessions[id.0];
        if !session.alive {
            return;
        }
        let last = &mut session.lanes[message.way() as usize];
        *last = arrives.max(*last).max(session.frozen);
        let at = *last;
        self.queue.push(at, Event::Deliver(id, message));
    }

    pub(super) fn deliver(&mut self, session: SessionId, message: Message) {
        if matches!(message, Message::Block(..)) {
            self.took(session);
        }
        let Session { child, parent, alive, .. } = self.sessions[session.0];
        if !alive {
            return;
        }
        let (from, kid) = (Source::Peer(id(parent.vm)), id(child.vm));
        match message {
            Message::Block(block, content, _) => self.ingest(child, block, content, from),
            Message::Refuse(block) => {
                self.input(child, Input::Rejected { block, from, why: Rejection::NotHere });
            }
            Message::Subscribe(subscription) => {
                self.input(parent, Input::Subscribed { child: kid, subscription });
            }
            Message::Unsubscribe => self.input(parent, Input::Unsubscribed { child: kid }),
            Message::Ask(block, ask) => self.input(parent, Input::Asked { child: kid, block, ask }),
            Message::Have(block) => self.input(parent, Input::Has { child: kid, block }),
        }
    }
}
