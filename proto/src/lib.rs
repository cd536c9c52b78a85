//! The gRPC interface of Function Trees: generated messages, clients and servers. The documentation is in
//! `proto/ft/v1/*.proto`.

/// Version 1 of the interface.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("ft.v1");
}

/// The encoded file descriptor set, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The most bytes of one message: an encoded manifest of the greatest size, and what goes with it. Clients of
/// `Functions` raise their limit for encoding to it, clients of `Workers` theirs for decoding.
pub const MAX_MESSAGE_BYTES: usize = 65 << 20;
