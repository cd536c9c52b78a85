//! How much a source may bring, so that a small hostile file cannot keep a conversion busy for ever.

/// Bounds on what is read of one layer. What an image may hold is bounded by
/// [`ImageLimits`](crate::builder::ImageLimits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Uncompressed bytes of one layer: stops compression bombs.
    pub layer_bytes: u64,
    /// Entries in one layer, extended headers included.
    pub layer_entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { layer_bytes: 256 << 30, layer_entries: 8 << 20 }
    }
}
