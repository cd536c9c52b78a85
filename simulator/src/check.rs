//! What must hold: one property, one checker. Checkers see only what can be seen from outside an engine.

use std::rc::Rc;

use ft_core::relay::Limits;
use ft_core::{BlockIndex, Instant, VmId};

use crate::image::Image;
use crate::seen::Seen;

mod complete;
mod due;
mod flights;
mod holdings;
mod integrity;
mod memory;
mod origin;
mod places;
mod readers;
mod relayed;
mod requests;
mod rest;
mod trees;

/// `Err` says how the property was violated.
pub(crate) type Verdict = Result<(), Broken>;

/// How a property was violated, and where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) why: String,
    pub(crate) vm: Option<VmId>,
    pub(crate) block: Option<BlockIndex>,
}

impl Broken {
    /// Names the VM and block that it is about, if those are not those of the last event.
    fn of(self, vm: VmId, block: Option<BlockIndex>) -> Self {
        Self { vm: Some(vm), block, ..self }
    }
}

/// Watches over one property.
pub(crate) trait Check {
    /// The property, in a word.
    fn name(&self) -> &'static str;

    /// Something happened.
    fn see(&mut self, at: Instant, seen: &Seen<'_>) -> Verdict;

    /// The run is over; `drained` if nothing was left to happen.
    fn end(&mut self, _drained: bool) -> Verdict {
        Ok(())
    }
}

/// Every checker.
pub(crate) fn all(image: &Rc<Image>, limits: &Limits, profile: &[BlockIndex]) -> Vec<Box<dyn Check>> {
    vec![
        Box::new(integrity::Integrity::new(Rc::clone(image))),
        Box::new(relayed::Relayed::new(Rc::clone(image))),
        Box::new(places::Places::default()),
        Box::new(flights::Flights::new(Rc::clone(image))),
        Box::new(origin::OriginBudget::new(Rc::clone(image), limits.clone())),
        Box::new(memory::Memory::new(Rc::clone(image), limits.clone())),
        Box::new(due::Due::new(Rc::clone(image), limits.clone())),
        Box::new(trees::Trees::default()),
        Box::new(readers::Readers::default()),
        Box::new(complete::Complete::new(Rc::clone(image), profile.to_vec())),
        Box::new(rest::Rest),
    ]
}

/// Fails with a message unless `holds`.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken { why: otherwise(), vm: None, block: None }) }
}
