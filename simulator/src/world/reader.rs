//! Readers: containers that start, and read blocks one after the other, a few at a time.

use ft_core::relay::Input;
use ft_core::{BlockIndex, Duration};

use super::{Event, Life, World, id};
use crate::seen::{Seen, Watch};

/// A reader to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReaderPlan {
    /// On which VM.
    pub(crate) vm: usize,
    /// How long after the VM's start.
    pub(crate) starts: Duration,
    /// What it reads, in this order.
    pub(crate) blocks: Vec<BlockIndex>,
    /// How long it thinks between two reads.
    pub(crate) thinks: Duration,
    /// Whether the worker reads ahead of it.
    pub(crate) ahead: bool,
}

/// After a failure a reader tries again so much later, as a container that is started again would.
const TRIES_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Reader {
    plan: usize,
    next: usize,
    waits: bool,
}

impl<W: Watch> World<W> {
    /// The readers of a VM start with it.
    pub(super) fn start_readers(&mut self, vm: usize) {
        let of = self.life(vm);
        for (plan, reader) in self.setup.readers.iter().enumerate().filter(|(_, plan)| plan.vm == vm) {
            let nth = self.hosts[vm].readers.len();
            self.hosts[vm].readers.push(Reader { plan, next: 0, waits: false });
            self.queue.push(self.now + reader.starts, Event::Read { of, reader: nth });
        }
    }

    /// A reader reads its next block: at once if it is here, else it waits.
    pub(super) fn read_on(&mut self, of: Life, nth: usize) {
        if !self.is_current(of) {
            return;
        }
        let Reader { plan, next, .. } = self.hosts[of.vm].readers[nth];
        let plan = &self.setup.readers[plan];
        let Some(&index) = plan.blocks.get(next) else { return };
        let (ahead, thinks) = (plan.ahead, plan.thinks);
        let block = self.setup.image.canonical(index);
        if ahead {
            self.read_ahead(of, index);
        }
        if let Some(content) = self.read_disk(of.vm, block) {
            self.see(&Seen::ReaderGot { vm: id(of.vm), block, content });
            self.hosts[of.vm].readers[nth].next += 1;
            self.after(thinks, Event::Read { of, reader: nth });
            return;
        }
        self.hosts[of.vm].readers[nth].waits = true;
        self.hosts[of.vm].waiting.insert(block);
        self.see(&Seen::ReaderWaits { vm: id(of.vm), block });
        self.backlog.push_back((of, Input::Demand { block: index }));
    }

    fn read_ahead(&mut self, of: Life, index: BlockIndex) {
        let image = &self.setup.image;
        let host = &mut self.hosts[of.vm];
        let disk = &host.disk;
        let missing =
            |block: BlockIndex| disk.get(image.canonical(block).0 as usize).is_some_and(Option::is_none);
        let blocks = host.readahead.observe(index, missing);
        if !blocks.is_empty() {
            self.backlog.push_back((of, Input::Expect { blocks }));
        }
    }

    /// A block is here: whoever waits for it has it.
    pub(super) fn serve_readers(&mut self, vm: usize, block: BlockIndex) {
        if !self.hosts[vm].waiting.remove(&block) {
            return;
        }
        if let Some(content) = self.hosts[vm].disk.get(block.0 as usize).copied().flatten() {
            self.see(&Seen::ReaderGot { vm: id(vm), block, content });
        }
        self.let_go(vm, block, true);
    }

    /// A block is not to be had: whoever waits for it is told.
    pub(super) fn fail_readers(&mut self, vm: usize, block: BlockIndex) {
        if self.hosts[vm].waiting.remove(&block) {
            self.see(&Seen::ReaderTold { vm: id(vm), block });
            self.let_go(vm, block, false);
        }
    }

    fn let_go(&mut self, vm: usize, block: BlockIndex, served: bool) {
        let of = self.life(vm);
        for nth in 0..self.hosts[vm].readers.len() {
            let Reader { plan, next, waits } = self.hosts[vm].readers[nth];
            let plan = &self.setup.readers[plan];
            let waits_for = plan.blocks.get(next).map(|index| self.setup.image.canonical(*index));
            if !waits || waits_for != Some(block) {
                continue;
            }
            let pause = if served { plan.thinks } else { TRIES_AGAIN };
            let reader = &mut self.hosts[vm].readers[nth];
            reader.waits = false;
            reader.next += usize::from(served);
            self.queue.push(self.now + pause, Event::Read { of, reader: nth });
        }
    }
}
