//! Nothing is relayed that was not verified here: an engine sends only what its worker told it was stored, and
//! what goes on the wire is right.

use std::rc::Rc;

use ft_core::Instant;
use ft_core::relay::Output;

use super::holdings::Holdings;
use super::{Check, Verdict, ensure};
use crate::image::Image;
use crate::seen::Seen;

pub(super) struct Relayed {
    image: Rc<Image>,
    holdings: Holdings,
}

impl Relayed {
    pub(super) fn new(image: Rc<Image>) -> Self {
        Self { image, holdings: Holdings::default() }
    }
}

impl Check for Relayed {
    fn name(&self) -> &'static str {
        "relayed"
    }

    fn see(&mut self, _at: Instant, seen: &Seen<'_>) -> Verdict {
        self.holdings.see(seen);
        match *seen {
            Seen::Does { vm, output: Output::Send { child, block, .. } } => {
                let verified = self.holdings.has(vm, *block);
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
