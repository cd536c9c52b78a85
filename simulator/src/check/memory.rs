//! Memory is bounded: few blocks in the worker's hands for each child, few requests at each source.

use std::collections::BTreeMap;
use std::rc::Rc;

use ft_core::relay::{Class, Input, Limits, Output};
use ft_core::{BlockIndex, Instant, VmId};

use super::requests::{Request, Requests, SOONEST};
use super::{Check, Verdict, ensure};
use crate::image::Image;
use crate::seen::Seen;

pub(super) struct Memory {
    limits: Limits,
    /// By VM and child: blocks handed to the worker.
    in_hand: BTreeMap<(VmId, VmId), BTreeMap<BlockIndex, Class>>,
    requests: Requests,
}

impl Memory {
    pub(super) fn new(image: Rc<Image>, limits: Limits) -> Self {
        Self { limits, in_hand: BTreeMap::new(), requests: Requests::new(image) }
    }

    fn handed(&mut self, vm: VmId, child: VmId, block: BlockIndex, class: Class) -> Verdict {
        let in_hand = self.in_hand.entry((vm, child)).or_default();
        in_hand.insert(block, class);
        let demands = in_hand.values().filter(|class| **class == Class::Demand).count();
        let pushes = in_hand.len() - demands;
        let within = demands <= self.limits.demand_window.max(1) as usize
            && pushes <= self.limits.push_window.max(1) as usize;
        ensure(within, || format!("{vm} has {demands} demands and {pushes} pushes in hand for {child}"))
    }

    fn asked(&mut self, at: Instant, vm: VmId, block: BlockIndex, request: Request) -> Verdict {
        let from = request.from;
        self.requests.made(vm, block, request);
        let open = self.requests.to(vm, from).filter(|request| at < request.since + SOONEST).count();
        let most = self.limits.requests_per_source.max(1) as usize;
        ensure(open <= most, || format!("{vm} has {open} requests open at {from:?}"))
    }
}

impl Check for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn see(&mut self, at: Instant, seen: &Seen<'_>) -> Verdict {
        self.requests.see(seen);
        match *seen {
            Seen::Started { vm, .. } | Seen::Stopped { vm } => self.in_hand.retain(|(of, _), _| *of != vm),
            Seen::Told { vm, input: Input::ChildDown(child) } => {
                self.in_hand.remove(&(vm, *child));
            }
            Seen::Told { vm, input: Input::Sent { child, block } } => {
                if let Some(in_hand) = self.in_hand.get_mut(&(vm, *child)) {
                    in_hand.remove(block);
                }
            }
            Seen::Does { vm, output: Output::Send { child, block, class } } => {
                return self.handed(vm, *child, *block, *class);
            }
            Seen::Does { vm, output: Output::Fetch { from, blocks, ask } } => {
                for &block in blocks {
                    self.asked(at, vm, block, Request { from: *from, since: at, ask: *ask })?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
