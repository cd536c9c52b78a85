//! At the end every live VM has what its mode promises: every block (`full`), or the metadata and the start-up
//! profile (`lazy`).

use std::collections::BTreeMap;
use std::rc::Rc;

use ft_core::relay::Mode;
use ft_core::{BlockIndex, Instant, VmId};

use super::holdings::Holdings;
use super::{Check, Verdict, ensure};
use crate::image::Image;
use crate::seen::Seen;

pub(super) struct Complete {
    image: Rc<Image>,
    profile: Vec<BlockIndex>,
    live: BTreeMap<VmId, Mode>,
    holdings: Holdings,
}

impl Complete {
    pub(super) fn new(image: Rc<Image>, profile: Vec<BlockIndex>) -> Self {
        Self { image, profile, live: BTreeMap::new(), holdings: Holdings::default() }
    }

    fn promised(&self, mode: Mode) -> Vec<BlockIndex> {
        match mode {
            Mode::Full => self.image.blocks().collect(),
            Mode::Lazy => {
                let metadata = (0..self.image.layout.metadata_blocks()).map(BlockIndex);
                let profile = self.profile.iter().copied();
                metadata.chain(profile).map(|index| self.image.canonical(index)).collect()
            }
        }
    }
}

impl Check for Complete {
    fn name(&self) -> &'static str {
        "complete"
    }

    fn see(&mut self, _at: Instant, seen: &Seen<'_>) -> Verdict {
        self.holdings.see(seen);
        match *seen {
            Seen::Started { vm, mode, .. } => {
                self.live.insert(vm, mode);
            }
            Seen::Stopped { vm } => {
                self.live.remove(&vm);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, _drained: bool) -> Verdict {
        for (vm, mode) in &self.live {
            let promised = self.promised(*mode);
            let lacks: Vec<BlockIndex> =
                promised.into_iter().filter(|block| !self.holdings.has(*vm, *block)).collect();
            ensure(lacks.is_empty(), || format!("{vm} lacks blocks {lacks:?}"))
                .map_err(|broken| broken.of(*vm, lacks.first().copied()))?;
        }
        Ok(())
    }
}
