//! What a VM has asked for and not been answered, as far as that can be seen from outside.

use std::collections::BTreeMap;
use std::rc::Rc;

use ft_core::relay::{Ask, Input, Output, Source};
use ft_core::{BlockIndex, Duration, Instant, VmId};

use crate::image::Image;
use crate::seen::Seen;

/// No source is given up for a block that somebody waits for, nor another one raced against it, sooner than
/// this; how much later depends on what the engine has learnt of the source.
pub(super) const SOONEST: Duration = Duration::from_millis(250);
/// The same for a block that nobody waits for.
pub(super) const SOONEST_IN_BACKGROUND: Duration = Duration::from_secs(2);

/// A request that is not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) from: Source,
    pub(super) since: Instant,
    pub(super) ask: Ask,
}

/// By VM and block, in the order in which they were made.
pub(super) struct Requests {
    image: Rc<Image>,
    open: BTreeMap<(VmId, BlockIndex), Vec<Request>>,
}

impl Requests {
    pub(super) fn new(image: Rc<Image>) -> Self {
        Self { image, open: BTreeMap::new() }
    }

    /// Notes what answers or voids requests.
    pub(super) fn see(&mut self, seen: &Seen<'_>) {
        match *seen {
            Seen::Started { vm, .. } | Seen::Stopped { vm } => self.open.retain(|(of, _), _| *of != vm),
            Seen::Told { vm, input: Input::Stored { block, .. } | Input::Dropped { block } } => {
                self.open.remove(&(vm, *block));
            }
            // All sources were given up.
            Seen::Does { vm, output: Output::Failed { block, .. } } => {
                self.open.remove(&(vm, *block));
            }
            Seen::Told { vm, input: Input::Rejected { block, from, .. } } => {
                if let Some(open) = self.open.get_mut(&(vm, self.image.canonical(*block))) {
                    open.retain(|request| request.from != *from);
                }
            }
            Seen::Told { vm, input: Input::PeerDown(peer) }
            | Seen::Does { vm, output: Output::Disconnect(peer) } => {
                for (_, open) in self.open.range_mut((vm, BlockIndex(0))..=(vm, BlockIndex(u32::MAX))) {
                    open.retain(|request| request.from != Source::Peer(*peer));
                }
            }
            _ => {}
        }
    }

    /// A new request; the earlier one to the same source, if it is named again.
    pub(super) fn made(&mut self, vm: VmId, block: BlockIndex, request: Request) -> Option<Request> {
        let open = self.open.entry((vm, block)).or_default();
        if let Some(again) = open.iter_mut().find(|open| open.from == request.from) {
            let before = *again;
            again.ask = request.ask;
            return Some(before);
        }
        open.push(request);
        None
    }

    /// The open requests for a block.
    pub(super) fn of(&self, vm: VmId, block: BlockIndex) -> &[Request] {
        self.open.get(&(vm, block)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The open requests of a VM to one source.
    pub(super) fn to(&self, vm: VmId, source: Source) -> impl Iterator<Item = &Request> {
        let open = self.open.range((vm, BlockIndex(0))..=(vm, BlockIndex(u32::MAX)));
        open.flat_map(|(_, open)| open).filter(move |request| request.from == source)
    }
}
