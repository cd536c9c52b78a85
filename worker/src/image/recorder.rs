//! What the start of a container reads of its image's data.

use std::sync::{Arc, Mutex, PoisonError};

use ft_core::BlockIndex;
use ft_core::relay::BlockSet;

/// Blocks that a recording holds at most: 8 GiB of data. A start that reads more has long been ready, or is no
/// start to learn from.
const MOST: usize = 16_384;

/// Takes note of what readers read, while a start is being recorded.
pub(super) struct Recorder {
    /// Indices of the image.
    len: u32,
    record: Mutex<Option<Record>>,
}

struct Record {
    seen: BlockSet,
    /// In the order of their first reads.
    order: Vec<BlockIndex>,
}

impl Recorder {
    pub(super) fn new(len: u32) -> Arc<Self> {
        Arc::new(Self { len, record: Mutex::default() })
    }

    /// Begins to record; `None` while another start is being recorded.
    pub(super) fn begin(self: &Arc<Self>) -> Option<StartRecording> {
        let mut record = self.lock();
        if record.is_some() {
            return None;
        }
        *record = Some(Record { seen: BlockSet::new(self.len), order: Vec::new() });
        Some(StartRecording { recorder: Arc::clone(self) })
    }

    /// A reader reads these blocks.
    pub(super) fn note(&self, blocks: impl Iterator<Item = BlockIndex>) {
        let mut record = self.lock();
        let Some(Record { seen, order }) = &mut *record else { return };
        for block in blocks {
            if order.len() < MOST && seen.insert(block) {
                order.push(block);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Record>> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A start that is being recorded, until this is dropped.
pub(crate) struct StartRecording {
    recorder: Arc<Recorder>,
}

impl StartRecording {
    /// The blocks read so far, in the order of their first reads.
    pub(crate) fn blocks(&self) -> Vec<BlockIndex> {
        self.recorder.lock().as_ref().map_or_else(Vec::new, |record| record.order.clone())
    }
}

impl Drop for StartRecording {
    fn drop(&mut self) {
        *self.recorder.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(indices: &[u32]) -> Vec<BlockIndex> {
        indices.iter().copied().map(BlockIndex).collect()
    }

    #[test]
    fn first_reads_are_kept_in_order_while_a_start_is_recorded() {
        let recorder = Recorder::new(10);
        recorder.note(blocks(&[1]).into_iter());
        let recording = recorder.begin().unwrap();
        assert!(recorder.begin().is_none(), "one at a time");
        recorder.note(blocks(&[7, 3]).into_iter());
        recorder.note(blocks(&[3, 5, 7]).into_iter());
        assert_eq!(recording.blocks(), blocks(&[7, 3, 5]));
        drop(recording);
        recorder.note(blocks(&[8]).into_iter());
        assert_eq!(recorder.begin().unwrap().blocks(), blocks(&[]), "a new one begins with nothing");
    }

    #[test]
    fn a_recording_is_bounded() {
        let most = u32::try_from(MOST).unwrap();
        let recorder = Recorder::new(most + 5);
        let recording = recorder.begin().unwrap();
        recorder.note((0..most + 5).map(BlockIndex));
        assert_eq!(recording.blocks().len(), MOST);
    }
}
