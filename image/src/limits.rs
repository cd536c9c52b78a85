//! How much a source may ask for, so that a small hostile file cannot fill a disk or the memory.

/// Bounds on what one conversion takes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Uncompressed bytes of one layer: stops compression bombs.
    pub layer_bytes: u64,
    /// Entries in one layer.
    pub layer_entries: u64,
    /// Length of one file in bytes, holes included.
    pub file_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { layer_bytes: 256 << 30, layer_entries: 8 << 20, file_bytes: 256 << 30 }
    }
}
