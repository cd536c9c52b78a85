//! Containers that ended with their VM, or with its worker, are placed again: the failed one stays failed, and
//! another with a name of its own takes its place, for as long as it is wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use ft_core::VmId;

use super::container::{Container, Stage};
use super::{Effects, ManagedTree};
use crate::ids::ContainerId;
use crate::refusal::Refusal;
use crate::state::record::ContainerRecord;
use crate::time::{Now, micros};

/// How often a container is placed again. Bounded, since it may be what takes its VMs down.
const ATTEMPTS: u32 = 3;
/// What has been placed for this long is not what took its VM down: it has all attempts again.
const STEADY: Duration = Duration::from_secs(600);

/// Finds places for replacements.
pub(crate) trait Placer {
    /// A name for the container that replaces this one, and its VM. `own`: how many of the tree's containers each
    /// VM has.
    ///
    /// # Errors
    /// Says why there is none.
    fn place(&self, container: &Container, own: &BTreeMap<VmId, u32>)
    -> Result<(ContainerId, VmId), Refusal>;
}

/// A container that takes the place of another; reserved, not durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replacement {
    pub(crate) id: ContainerId,
    pub(crate) replaces: ContainerId,
    pub(crate) record: ContainerRecord,
}

impl ManagedTree {
    /// These containers are gone, through no fault of their own. They have failed, or stopped if that was wanted, and
    /// those that are wanted are placed again.
    pub(super) fn displace(
        &mut self,
        gone: &[(ContainerId, String)],
        placer: &dyn Placer,
        now: Now,
        effects: &mut Effects,
    ) {
        let mut own = self.load();
        for (id, _) in gone {
            if let Some(count) = self.containers.get(id).and_then(|container| own.get_mut(&container.vm)) {
                *count -= 1;
            }
        }
        for (id, cause) in gone {
            let wanted = self.containers.get(id).is_some_and(|container| container.wanted);
            let stage = if wanted {
                match self.replace(*id, &own, placer, now) {
                    Ok(replacement) => {
                        *own.entry(replacement.record.vm()).or_default() += 1;
                        let cause = format!("{cause}; placed again as {}", replacement.id);
                        effects.replaced.push(replacement);
                        Stage::failed(&cause)
                    }
                    Err(why) => Stage::failed(&format!("{cause}; {why}")),
                }
            } else {
                Stage::stopped(cause)
            };
            self.end(*id, stage, now, effects);
        }
    }

    /// Reserves another container in the place of this one.
    fn replace(
        &mut self,
        id: ContainerId,
        own: &BTreeMap<VmId, u32>,
        placer: &dyn Placer,
        now: Now,
    ) -> Result<Replacement, String> {
        let container = self.containers.get(&id).filter(|container| !container.has_ended());
        let container = container.ok_or_else(|| "it had ended".to_owned())?;
        let age = now.unix_us.saturating_sub(container.placed_at.unix_us);
        let attempt = if age >= micros(STEADY) { 1 } else { container.attempt + 1 };
        if attempt > ATTEMPTS {
            return Err(format!("it was placed again {ATTEMPTS} times already; see what becomes of its VMs"));
        }
        let (new, vm) = placer
            .place(container, own)
            .map_err(|refusal| format!("it cannot be placed again: {refusal}"))?;
        let replacement = container.replacement(new, vm, attempt, now);
        let record = replacement.record(self.distribution);
        self.take_in(replacement);
        if let Some(container) = self.containers.get_mut(&id) {
            container.replaced_by = Some(new);
        }
        Ok(Replacement { id: new, replaces: id, record })
    }

    /// These containers and those that took their places.
    pub(crate) fn with_replacements(&self, ids: &[ContainerId]) -> Vec<ContainerId> {
        ids.iter().flat_map(|id| self.succession(*id)).collect()
    }

    /// The container, the one that took its place, and so on.
    pub(super) fn succession(&self, id: ContainerId) -> impl Iterator<Item = ContainerId> + '_ {
        let next = |id: &ContainerId| self.containers.get(id).and_then(|container| container.replaced_by);
        std::iter::successors(Some(id), next)
    }
}
