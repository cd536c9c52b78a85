//! Sessions with children: what they ask for comes in, blocks go out.

use std::collections::BTreeMap;
use std::sync::Arc;

use ft_core::relay::Class;
use ft_core::{BlockIndex, VmId};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Event;
use super::env::Env;
use crate::transport::{Downstream, Frame, LaneOpener, Offer, TransportError};
use crate::wire::{Lane, ToChild, ToParent};

/// The sessions that children opened. Each has a number, so that what a replaced one still reports is told
/// apart.
#[derive(Default)]
pub(super) struct Children {
    sessions: BTreeMap<VmId, Session>,
    last_number: u64,
}

struct Session {
    number: u64,
    replies: mpsc::Sender<ToChild>,
    opener: Arc<dyn LaneOpener>,
    lanes: BTreeMap<Lane, LaneQueue>,
    /// Stripes of the tree, as the child sees it.
    stripes: u8,
    _reader: AbortOnDropHandle<()>,
}

struct LaneQueue {
    /// Bounded by the engine's windows: it hands out no more before it hears of `Sent`.
    blocks: mpsc::UnboundedSender<(BlockIndex, Class)>,
    _writer: AbortOnDropHandle<()>,
}

impl Children {
    /// Opens a session; says whether it replaces one that the same child had.
    pub(super) fn welcome(&mut self, env: &Arc<Env>, offer: Offer) -> bool {
        self.last_number += 1;
        let number = self.last_number;
        let session = offer.accept();
        let Downstream { peer, replies, lanes, .. } = &session;
        let (peer, replies, opener) = (*peer, replies.clone(), Arc::clone(lanes));
        let reader = env.spawn(read(Arc::clone(env), session, number));
        let lanes = BTreeMap::new();
        let session = Session { number, replies, opener, lanes, stripes: 1, _reader: reader };
        self.sessions.insert(peer, session).is_some()
    }

    /// Whether `number` is the child's session, rather than one that was replaced.
    pub(super) fn is_current(&self, child: VmId, number: u64) -> bool {
        self.sessions.get(&child).is_some_and(|session| session.number == number)
    }

    /// Ends the child's session.
    pub(super) fn dismiss(&mut self, child: VmId) {
        self.sessions.remove(&child);
    }

    /// Takes note of how many stripes the child's tree has.
    pub(super) fn set_stripes(&mut self, child: VmId, stripes: u8) {
        if let Some(session) = self.sessions.get_mut(&child) {
            session.stripes = stripes;
        }
    }

    /// Queues a block; `false` if there is no session.
    pub(super) fn send(&mut self, env: &Arc<Env>, child: VmId, block: BlockIndex, class: Class) -> bool {
        let Some(session) = self.sessions.get_mut(&child) else { return false };
        let lane = match class {
            Class::Demand => Lane::Demand,
            _ => Lane::Push(block.stripe(session.stripes)),
        };
        let (number, opener) = (session.number, &session.opener);
        let queue = session.lanes.entry(lane).or_insert_with(|| {
            let (blocks, queue) = mpsc::unbounded_channel();
            let lane = OutLane { env: Arc::clone(env), opener: Arc::clone(opener), lane, child, number };
            LaneQueue { blocks, _writer: env.spawn(lane.run(queue)) }
        });
        queue.blocks.send((block, class)).is_ok()
    }

    /// Refuses a block; `false` if there is no session, or it takes no more: it is over then.
    pub(super) fn refuse(&mut self, child: VmId, block: BlockIndex) -> bool {
        let Some(session) = self.sessions.get(&child) else { return false };
        let told = session.replies.try_send(ToChild::Refuse { block }).is_ok();
        if !told {
            self.sessions.remove(&child);
        }
        told
    }
}

/// Passes a child's requests to the driver until the session ends.
async fn read(env: Arc<Env>, mut session: Downstream, number: u64) {
    let child = session.peer;
    let mut cause = TransportError::Ended { peer: child };
    while let Some(request) = session.requests.recv().await {
        match request {
            Ok(request) => env.post(Event::FromChild { child, number, request }).await,
            Err(error) => {
                cause = error;
                break;
            }
        }
    }
    env.post(Event::ChildDown { child, number, cause }).await;
}

/// One lane of a session, as the task that writes it knows it.
struct OutLane {
    env: Arc<Env>,
    opener: Arc<dyn LaneOpener>,
    lane: Lane,
    child: VmId,
    number: u64,
}

impl OutLane {
    async fn run(self, mut blocks: mpsc::UnboundedReceiver<(BlockIndex, Class)>) {
        if let Err(cause) = self.write(&mut blocks).await {
            let (child, number) = (self.child, self.number);
            self.env.post(Event::ChildDown { child, number, cause }).await;
        }
    }

    async fn write(
        &self,
        blocks: &mut mpsc::UnboundedReceiver<(BlockIndex, Class)>,
    ) -> Result<(), TransportError> {
        let mut lane = self.opener.open(self.lane).await?;
        while let Some((block, class)) = blocks.recv().await {
            if let Some(stored) = self.env.stored_bytes(block).await {
                let len = stored.len();
                let sending = self.env.link.send(self.child, class == Class::Demand, len).await;
                lane.send(Frame { block, class, stored }).await?;
                sending.sent(len);
                self.env.counters.sent(len);
            }
            self.env.post(Event::Sent { child: self.child, number: self.number, block }).await;
        }
        Ok(())
    }
}

/// Requests that are for the engine; the driver tells them on.
pub(super) fn input_of(child: VmId, request: ToParent) -> Option<ft_core::relay::Input> {
    use ft_core::relay::Input;
    Some(match request {
        ToParent::Subscribe(subscription) => Input::Subscribed { child, subscription },
        ToParent::Unsubscribe => Input::Unsubscribed { child },
        ToParent::Ask { block, ask } => Input::Asked { child, block, ask },
        ToParent::Have { block } => Input::Has { child, block },
        // The transport lets no second hello through.
        ToParent::Hello(_) => return None,
    })
}
