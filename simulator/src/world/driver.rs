//! What a worker does around its engine, as `worker/src/relay` does it.

use ft_core::relay::{Engine, EngineConfig, Input, Output, Rejection, Source};
use ft_core::{BlockIndex, VmId};

use super::session::Message;
use super::{Event, Life, World, id};
use crate::image::Content;
use crate::seen::{Seen, Watch};

impl<W: Watch> World<W> {
    /// A worker begins to follow the image, with what is on its disk.
    pub(super) fn start_host(&mut self, vm: usize) {
        let here = self.hosts[vm].stored();
        let config =
            EngineConfig { limits: self.setup.limits.clone(), ..EngineConfig::new(id(vm), self.setup.mode) };
        self.see(&Seen::Started { vm: id(vm), mode: self.setup.mode, here: &here });
        self.hosts[vm].engine = Some(Engine::new(config, &self.setup.image.layout, here));
        if !self.setup.profile.is_empty() {
            let blocks = self.setup.profile.clone();
            let of = self.life(vm);
            self.backlog.push_back((of, Input::Profile { blocks }));
        }
        self.start_readers(vm);
    }

    /// The engine's deadline has passed, or has moved on since.
    pub(super) fn wake(&mut self, vm: usize) {
        if self.hosts[vm].wake != Some(self.now) {
            return;
        }
        self.hosts[vm].wake = None;
        let deadline = self.hosts[vm].engine.as_ref().and_then(Engine::deadline);
        if deadline.is_some_and(|at| at <= self.now) {
            self.input(self.life(vm), Input::Timeout);
        } else {
            self.arm(vm);
        }
    }

    /// Sees to it that the engine is woken at its deadline, or earlier.
    fn arm(&mut self, vm: usize) {
        let host = &mut self.hosts[vm];
        let Some(at) = host.engine.as_ref().and_then(Engine::deadline) else { return };
        let at = at.max(self.now);
        if host.wake.is_none_or(|wake| at < wake) {
            host.wake = Some(at);
            self.queue.push(at, Event::Wake(vm));
        }
    }

    /// Tells a VM's engine what happened, and does what it says.
    pub(super) fn input(&mut self, of: Life, input: Input) {
        if !self.is_current(of) {
            return;
        }
        self.see(&Seen::Told { vm: id(of.vm), input: &input });
        let heard = match &mut self.saboteur {
            None => Some(input),
            Some(saboteur) => saboteur.input(id(of.vm), input),
        };
        let Some(heard) = heard else { return };
        if let Input::Stored { block, .. } = heard {
            self.serve_readers(of.vm, block);
        }
        if let Some(engine) = &mut self.hosts[of.vm].engine {
            engine.handle(self.now, heard);
        }
        while let Some(output) = self.hosts[of.vm].engine.as_mut().and_then(Engine::poll) {
            self.carry_out(of.vm, output);
        }
        self.arm(of.vm);
    }

    fn carry_out(&mut self, vm: usize, output: Output) {
        let Some(saboteur) = &mut self.saboteur else { return self.act(vm, output) };
        let sabotaged = saboteur.output(id(vm), output);
        let of = self.life(vm);
        self.backlog.extend(sabotaged.answers.into_iter().map(|input| (of, input)));
        for output in sabotaged.outputs {
            self.act(vm, output);
        }
    }

    fn act(&mut self, vm: usize, output: Output) {
        self.see(&Seen::Does { vm: id(vm), output: &output });
        match output {
            Output::Connect(parent) => self.dial(vm, parent),
            Output::Disconnect(parent) => self.disconnect(vm, parent),
            Output::Subscribe { parent, subscription } => {
                self.say_to_parent(vm, parent, Message::Subscribe(subscription));
            }
            Output::Unsubscribe { parent } => self.say_to_parent(vm, parent, Message::Unsubscribe),
            Output::Have { to, block } => self.say_to_parent(vm, to, Message::Have(block)),
            Output::Fetch { from: Source::Peer(parent), blocks, ask } => {
                for block in blocks {
                    self.say_to_parent(vm, parent, Message::Ask(block, ask));
                }
            }
            Output::Fetch { from: Source::Origin, blocks, .. } => {
                for block in blocks {
                    self.ask_origin(vm, block);
                }
            }
            Output::Send { child, block, class } => self.queue_block(vm, child, block, class),
            Output::Refuse { child, block } => self.say_to_child(vm, child, Message::Refuse(block)),
            Output::Failed { block, .. } => self.fail_readers(vm, block),
            Output::Stuck { .. } => {}
            Output::Complete => self.hosts[vm].complete_at = Some(self.now),
        }
    }

    /// A block came: it is verified, and kept if it is right.
    pub(super) fn ingest(&mut self, of: Life, block: BlockIndex, content: Content, from: Source) {
        if !self.is_current(of) {
            return;
        }
        let input = if self.setup.image.verifies(block, content) {
            Input::Stored { block, from }
        } else {
            Input::Rejected { block, from, why: Rejection::Corrupt }
        };
        let cell = self.setup.image.canonical(block);
        // A saboteur may think otherwise of it.
        let keeps = match &self.saboteur {
            None => matches!(input, Input::Stored { .. }),
            Some(saboteur) => saboteur.keeps(&input),
        };
        if keeps && let Some(kept) = self.hosts[of.vm].on_disk(cell) {
            *kept = Some(content);
            self.see(&Seen::Kept { vm: id(of.vm), block: cell, content, from });
        }
        self.input(of, input);
    }

    /// What is on the disk of `vm` under `block`, if it verifies; what does not is removed, and the engine told.
    pub(super) fn read_disk(&mut self, vm: usize, block: BlockIndex) -> Option<Content> {
        let cell = self.hosts[vm].on_disk(block)?;
        let content = (*cell)?;
        if self.setup.image.verifies(block, content)
            || self.saboteur.as_ref().is_some_and(|it| it.trusts_disks())
        {
            return Some(content);
        }
        if let Some(cell) = self.hosts[vm].on_disk(block) {
            *cell = None;
        }
        let of = self.life(vm);
        self.backlog.push_back((of, Input::Dropped { block }));
        None
    }

    /// A worker ends. Its peers hear of it by the ends of its sessions.
    pub(super) fn stop_host(&mut self, vm: usize, silent: bool) {
        if self.hosts[vm].engine.is_none() {
            return;
        }
        self.see(&Seen::Stopped { vm: id(vm) });
        let host = &self.hosts[vm];
        let sessions: Vec<_> = host.made.values().chain(host.accepted.values()).copied().collect();
        for session in sessions {
            self.break_session(session, silent);
        }
        self.hosts[vm].forget(&self.setup.image);
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.forget(VmId(vm as u64));
        }
    }
}
