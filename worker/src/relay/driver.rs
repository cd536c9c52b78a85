//! The task that owns the engine.

use std::collections::VecDeque;
use std::sync::Arc;

use ft_core::VmId;
use ft_core::relay::{Class, Engine, Input, Output, Source};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::children::{Children, input_of};
use super::clock::Clock;
use super::env::Env;
use super::parents::Parents;
use super::{Addresses, Event};
use crate::transport::TransportError;
use crate::wire::ToParent;

/// Events that are taken before outputs are carried out again.
const BATCH: usize = 64;

/// Owns the engine; see the module above for who does what.
pub(super) struct Driver {
    engine: Engine,
    env: Arc<Env>,
    clock: Clock,
    parents: Parents,
    children: Children,
    addresses: Addresses,
    /// What carrying out outputs gave rise to.
    backlog: VecDeque<Input>,
    fetches: tokio::task::JoinSet<()>,
}

impl Driver {
    pub(super) fn new(engine: Engine, env: Arc<Env>) -> Self {
        Self {
            engine,
            env,
            clock: Clock::start(),
            parents: Parents::default(),
            children: Children::default(),
            addresses: Addresses::new(),
            backlog: VecDeque::new(),
            fetches: tokio::task::JoinSet::new(),
        }
    }

    /// Runs until cancelled. Dropping what it owns then ends every session and task.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>, cancel: CancellationToken) {
        loop {
            self.settle();
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                event = events.recv() => match event {
                    Some(event) => self.take(event),
                    None => break,
                },
                () = self.clock.sleep_until(self.engine.deadline()) => self.input(Input::Timeout),
            }
            for _ in 0..BATCH {
                let Ok(event) = events.try_recv() else { break };
                self.take(event);
            }
            while self.fetches.try_join_next().is_some() {}
        }
        self.env.arrivals.close();
    }

    /// Carries out the engine's outputs until there are none.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.engine.poll() {
                self.execute(output);
            }
            let Some(input) = self.backlog.pop_front() else { break };
            self.input(input);
        }
        self.env.counters.engine(self.engine.stats());
    }

    fn input(&mut self, input: Input) {
        self.engine.handle(self.clock.now(), input);
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Input(input) => self.input(input),
            Event::Follow(edges, addresses) => {
                if edges.epoch >= self.env.epoch() {
                    self.addresses = addresses;
                }
                self.env.set_epoch(edges.epoch);
                self.input(Input::Edges(edges));
            }
            Event::Offer(offer) => {
                let child = offer.peer();
                if self.children.welcome(&self.env, offer) {
                    self.input(Input::ChildDown(child));
                }
            }
            Event::ParentUp { peer, number, requests } => {
                if self.parents.up(peer, number, requests) {
                    self.input(Input::PeerUp(peer));
                }
            }
            Event::ParentDown { peer, number, cause } => {
                if self.parents.down(peer, number) {
                    self.env.report_lost(peer, &cause);
                    self.input(Input::PeerDown(peer));
                }
            }
            Event::FromChild { child, number, request } => self.take_request(child, number, request),
            Event::Sent { child, number, block } => {
                if self.children.is_current(child, number) {
                    self.input(Input::Sent { child, block });
                }
            }
            Event::ChildDown { child, number, cause } => {
                if self.children.is_current(child, number) {
                    tracing::debug!(%child, image = %self.env.image, %cause, "a child's session is over");
                    self.lose_child(child);
                }
            }
        }
    }

    fn take_request(&mut self, child: VmId, number: u64, request: ToParent) {
        if !self.children.is_current(child, number) {
            return;
        }
        if let ToParent::Subscribe(subscription) = &request {
            self.children.set_stripes(child, subscription.of);
        }
        if let Some(input) = input_of(child, request) {
            self.input(input);
        }
    }

    fn execute(&mut self, output: Output) {
        match output {
            Output::Connect(peer) => self.connect(peer),
            Output::Disconnect(peer) => self.parents.disconnect(peer),
            Output::Subscribe { parent, subscription } => {
                self.tell(parent, ToParent::Subscribe(subscription));
            }
            Output::Unsubscribe { parent } => self.tell(parent, ToParent::Unsubscribe),
            Output::Fetch { from: Source::Peer(peer), blocks, ask } => {
                for block in blocks {
                    self.tell(peer, ToParent::Ask { block, ask });
                }
            }
            Output::Fetch { from: Source::Origin, blocks, ask } => {
                let demanded = ask.class == Class::Demand;
                self.fetches.spawn(Arc::clone(&self.env).fetch_from_origin(blocks, demanded));
            }
            Output::Have { to, block } => self.tell(to, ToParent::Have { block }),
            Output::Send { child, block, class } => {
                if !self.children.send(&self.env, child, block, class) {
                    self.backlog.push_back(Input::Sent { child, block });
                }
            }
            Output::Refuse { child, block } => {
                if !self.children.refuse(child, block) {
                    self.backlog.push_back(Input::ChildDown(child));
                }
            }
            Output::Failed { block, tried } => self.env.give_up(block, &tried),
            Output::Stuck { child } => self.env.report_stuck(child),
            // Whoever waits for it hears of it by the arrival of the last block.
            Output::Complete => tracing::debug!(image = %self.env.image, "every block is here"),
        }
    }

    fn connect(&mut self, peer: VmId) {
        match self.addresses.get(&peer) {
            Some(at) => self.parents.connect(&self.env, peer, at.clone()),
            None => {
                tracing::warn!(%peer, image = %self.env.image, "the manager gave no address for a peer");
                self.backlog.push_back(Input::PeerDown(peer));
            }
        }
    }

    /// A parent that takes no more messages is lost.
    fn tell(&mut self, peer: VmId, message: ToParent) {
        if self.parents.tell(peer, message).is_err() {
            self.env.report_lost(peer, &TransportError::Ended { peer });
            self.backlog.push_back(Input::PeerDown(peer));
        }
    }

    fn lose_child(&mut self, child: VmId) {
        self.children.dismiss(child);
        self.input(Input::ChildDown(child));
    }
}
