//! Sessions with parents, and with whoever else blocks are asked of.

use std::collections::BTreeMap;
use std::sync::Arc;

use ft_core::VmId;
use ft_core::relay::{Class, Input, Rejection, Source};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::Event;
use super::env::Env;
use crate::transport::{Frame, FromParent, PeerAddress, TransportError, Upstream};
use crate::wire::ToParent;

/// The sessions that the engine asked for. Each has a number, so that what a replaced one still reports is
/// told apart.
#[derive(Default)]
pub(super) struct Parents {
    sessions: BTreeMap<VmId, Session>,
    last_number: u64,
}

struct Session {
    number: u64,
    /// Once it is up.
    requests: Option<mpsc::Sender<ToParent>>,
    _task: AbortOnDropHandle<()>,
}

impl Parents {
    /// Begins to make a session; [`Event::ParentUp`] or [`Event::ParentDown`] follows.
    pub(super) fn connect(&mut self, env: &Arc<Env>, peer: VmId, at: PeerAddress) {
        self.last_number += 1;
        let number = self.last_number;
        let task = env.spawn(run(Arc::clone(env), peer, at, number));
        self.sessions.insert(peer, Session { number, requests: None, _task: task });
    }

    /// Ends a session, or the attempt to make one.
    pub(super) fn disconnect(&mut self, peer: VmId) {
        self.sessions.remove(&peer);
    }

    /// Takes note that session `number` is up; `false` if it was replaced meanwhile.
    pub(super) fn up(&mut self, peer: VmId, number: u64, requests: mpsc::Sender<ToParent>) -> bool {
        match self.sessions.get_mut(&peer) {
            Some(session) if session.number == number => {
                session.requests = Some(requests);
                true
            }
            _ => false,
        }
    }

    /// Takes note that session `number` is over; `false` if it was replaced meanwhile.
    pub(super) fn down(&mut self, peer: VmId, number: u64) -> bool {
        let current = self.sessions.get(&peer).is_some_and(|session| session.number == number);
        if current {
            self.sessions.remove(&peer);
        }
        current
    }

    /// Sends a message. A session that takes no more is over, and this says so; without a session, the
    /// message has no meaning.
    pub(super) fn tell(&mut self, peer: VmId, message: ToParent) -> Result<(), Broken> {
        let Some(session) = self.sessions.get(&peer) else { return Ok(()) };
        let Some(requests) = &session.requests else { return Ok(()) };
        if requests.try_send(message).is_err() {
            self.sessions.remove(&peer);
            return Err(Broken);
        }
        Ok(())
    }
}

/// A session broke.
pub(super) struct Broken;

async fn run(env: Arc<Env>, peer: VmId, at: PeerAddress, number: u64) {
    let cause = match env.transport.connect(peer, &at, env.image).await {
        Ok(upstream) => {
            let requests = upstream.requests.clone();
            env.post(Event::ParentUp { peer, number, requests }).await;
            receive(&env, peer, upstream).await
        }
        Err(error) => error,
    };
    env.post(Event::ParentDown { peer, number, cause }).await;
}

/// Takes what the parent sends until the session ends; returns why.
async fn receive(env: &Arc<Env>, peer: VmId, mut upstream: Upstream) -> TransportError {
    let from = Source::Peer(peer);
    while let Some(event) = upstream.events.recv().await {
        match event {
            Ok(FromParent::Block(Frame { block, class, stored })) => {
                let len = stored.len();
                env.ingest(block, stored, from).await;
                // Paid for afterwards: it is here. What follows waits in the peer.
                env.link.receive(class == Class::Demand, len).await;
            }
            Ok(FromParent::Refused(block)) => {
                let why = Rejection::NotHere;
                env.post(Event::Input(Input::Rejected { block, from, why })).await;
            }
            Err(error) => return error,
        }
    }
    TransportError::Ended { peer }
}
