//! Start-up profiles: what cold starts of each image read, as their workers report it, and what all workers
//! are told of that.
//!
//! A thousand VMs report within a second of each other. So the profile is worked out anew, written, and told to
//! the tree at most once per [`PAUSE`], and told only if it differs from what they know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ft_core::profile::{ReportError, Starts, differs};
use ft_core::{BlockIndex, VmId};
use ft_proto::v1;

use crate::core::Core;
use crate::ids::{ContainerId, TreeKey, shorten};
use crate::state::Write;
use crate::state::record::StartRecord;
use crate::time::Now;

/// The least time between two profiles of an image.
const PAUSE: Duration = Duration::from_secs(2);

/// What workers are told.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// Greater than that of every profile of the image before; the first one's is 1.
    pub(crate) version: u64,
    /// Block indices in the order of reads.
    pub(crate) blocks: Vec<u32>,
}

/// The starts and profiles of all images.
#[derive(Debug, Default)]
pub(crate) struct Profiles(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    images: BTreeMap<TreeKey, Image>,
    /// Images with starts that are not in their profile yet.
    fresh: BTreeSet<TreeKey>,
}

#[derive(Debug)]
struct Image {
    starts: Starts,
    profile: Arc<Profile>,
    /// When the profile was worked out last.
    merged: Option<Instant>,
}

/// An image whose starts were merged.
#[derive(Debug)]
pub(crate) struct Merged {
    key: TreeKey,
    starts: Vec<StartRecord>,
    /// Workers should hear of the new profile.
    differs: bool,
}

impl Image {
    fn new(blocks: u32) -> Self {
        Self { starts: Starts::new(blocks), profile: Arc::default(), merged: None }
    }

    /// Whether the profile is another one now.
    fn merge(&mut self) -> bool {
        let told: Vec<_> = self.profile.blocks.iter().copied().map(BlockIndex).collect();
        let now = self.starts.profile();
        let differs = differs(&told, &now);
        if differs {
            let blocks = now.into_iter().map(|block| block.0).collect();
            self.profile = Arc::new(Profile { version: self.profile.version + 1, blocks });
        }
        differs
    }
}

impl Profiles {
    /// An image's starts from before the manager's restart. Those that its manifest does not allow are left out.
    pub(crate) fn restore(&self, key: TreeKey, image_blocks: u32, starts: Vec<StartRecord>) {
        let mut image = Image::new(image_blocks);
        for start in starts {
            let blocks: Vec<_> = start.blocks.into_iter().map(BlockIndex).collect();
            if let Err(error) = image.starts.record(VmId(start.vm), &blocks) {
                tracing::warn!(image = %key.image, %error, "a stored start makes no sense");
            }
        }
        image.merge();
        self.lock().images.insert(key, image);
    }

    /// What workers are told of an image, if anything is known.
    pub(crate) fn get(&self, key: &TreeKey) -> Option<Arc<Profile>> {
        let inner = self.lock();
        let profile = &inner.images.get(key)?.profile;
        (profile.version > 0).then(|| Arc::clone(profile))
    }

    /// How many starts an image's profile is made from.
    pub(crate) fn starts(&self, key: &TreeKey) -> u32 {
        let count = self.lock().images.get(key).map_or(0, |image| image.starts.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Takes a start in; [`merge_due`](Self::merge_due) does the rest.
    fn record(
        &self,
        key: &TreeKey,
        image_blocks: u32,
        vm: VmId,
        blocks: &[BlockIndex],
    ) -> Result<(), ReportError> {
        let mut inner = self.lock();
        let image = inner.images.entry(key.clone()).or_insert_with(|| Image::new(image_blocks));
        image.starts.record(vm, blocks)?;
        inner.fresh.insert(key.clone());
        Ok(())
    }

    /// Works out the profiles that have new starts and were not worked out lately.
    fn merge_due(&self, now: Instant) -> Vec<Merged> {
        let mut inner = self.lock();
        let Inner { images, fresh } = &mut *inner;
        let mut merged = Vec::new();
        fresh.retain(|key| {
            let Some(image) = images.get_mut(key) else { return false };
            if image.merged.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
                return true;
            }
            image.merged = Some(now);
            let differs = image.merge();
            let starts = image.starts.iter().map(StartRecord::from).collect();
            merged.push(Merged { key: key.clone(), starts, differs });
            false
        });
        merged
    }

    /// No function has the image any more.
    pub(crate) fn remove(&self, key: &TreeKey) {
        let mut inner = self.lock();
        inner.images.remove(key);
        inner.fresh.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// A worker says what a container's start read. What makes no sense is logged, and otherwise ignored.
    pub(crate) fn start_profile(&self, vm: VmId, report: &v1::StartProfile, now: Now) {
        match self.note_start(vm, report) {
            Ok(()) => self.merge_profiles(now),
            Err(why) => {
                let container = shorten(&report.container);
                tracing::info!(%vm, container, why, "what a start read does not count");
            }
        }
    }

    fn note_start(&self, vm: VmId, report: &v1::StartProfile) -> Result<(), String> {
        let id: ContainerId = report.container.parse().map_err(|_| "no such container")?;
        let cell = self.trees.of_container(id).ok_or("no such container")?;
        if report.image != cell.key.image.to_string() {
            return Err("it has another image".to_owned());
        }
        let image_blocks = cell.lock().count_start(vm, id)?;
        let blocks: Vec<_> = report.blocks.iter().copied().map(BlockIndex).collect();
        self.profiles.record(&cell.key, image_blocks, vm, &blocks).map_err(|error| error.to_string())
    }

    /// Writes and tells what has come up, not more often than [`PAUSE`] allows.
    pub(crate) fn merge_profiles(&self, now: Now) {
        for Merged { key, starts, differs } in self.profiles.merge_due(now.instant) {
            self.store.write_later(vec![Write::Starts(key.clone(), starts)]);
            if differs && let Some(cell) = self.trees.get(&key) {
                self.change(&cell, |tree| tree.everyone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ft_core::Digest;

    #[test]
    fn many_reports_are_merged_once_in_a_while_and_told_only_if_they_differ() {
        let profiles = Profiles::default();
        let key = TreeKey { tenant: "t".into(), image: Digest::of(b"image") };
        let begin = Instant::now();
        let read = [BlockIndex(3), BlockIndex(1)];
        profiles.record(&key, 10, VmId(1), &read).unwrap();
        assert!(profiles.get(&key).is_none());
        let merged = profiles.merge_due(begin);
        assert_eq!((merged.len(), merged[0].differs, merged[0].starts.len()), (1, true, 1));
        assert_eq!(profiles.get(&key).unwrap().blocks, [3, 1]);
        for vm in 2..=9 {
            profiles.record(&key, 10, VmId(vm), &read).unwrap();
            assert!(profiles.merge_due(begin).is_empty(), "not so soon");
        }
        let merged = profiles.merge_due(begin + PAUSE);
        assert_eq!((merged.len(), merged[0].differs, merged[0].starts.len()), (1, false, 9));
        assert_eq!((profiles.get(&key).unwrap().version, profiles.starts(&key)), (1, 9));
        assert!(profiles.merge_due(begin + 2 * PAUSE).is_empty(), "nothing new");
    }
}
