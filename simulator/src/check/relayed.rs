//! Nothing is relayed that was not verified here: an engine sends only what its worker told it was stored, and
//! what goes on the wire is right.

use std::collections::BTreeMap;
use std::rc::Rc;

use ft_core::relay::{BlockSet, Input, Output};
use ft_core::{Instant, VmId};

use super::{Check, Verdict, ensure};
use crate::image::Image;
use crate::seen::Seen;

pub(super) struct Relayed {
    image: Rc<Image>,
    stored: BTreeMap<VmId, BlockSet>,
}

impl Relayed {
    pub(super) fn new(image: Rc<Image>) -> Self {
        Self { image, stored: BTreeMap::new() }
    }
}

impl Check for Relayed {
    fn name(&self) -> &'static str {
        "relayed"
    }

    fn see(&mut self, _at: Instant, seen: &Seen<'_>) -> Verdict {
        match *seen {
            Seen::Started { vm, here, .. } => {
                self.stored.insert(vm, here.clone());
            }
            Seen::Told { vm, input: Input::Stored { block, .. } } => {
                if let Some(stored) = self.stored.get_mut(&vm) {
                    stored.insert(*block);
                }
            }
            Seen::Told { vm, input: Input::Dropped { block } } => {
                if let Some(stored) = self.stored.get_mut(&vm) {
                    stored.remove(*block);
                }
            }
            Seen::Does { vm, output: Output::Send { child, block, .. } } => {
                let verified = self.stored.get(&vm).is_some_and(|stored| stored.contains(*block));
                return ensure(verified, || {
                    format!("{vm} sends {child} block {block}, which it has not verified")
                });
            }
            Seen::Relayed { vm, child, block, content } => {
                let right = self.image.truth(block) == Some(content);
                return ensure(right, || format!("{vm} sends {child} a wrong block {block}"));
            }
            _ => {}
        }
        Ok(())
    }
}
