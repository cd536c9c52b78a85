//! The tables of the state file. Records are JSON, so that fields can be added and people can read them.

use redb::TableDefinition;

/// `format`, `term`, `next_vm`.
pub(super) const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
/// `certificate` and `key`, both PEM.
pub(super) const AUTHORITY: TableDefinition<'_, &str, &str> = TableDefinition::new("authority");
/// By VM number.
pub(super) const VMS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("vms");
/// By SHA-256 of the token's secret.
pub(super) const TOKENS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("tokens");
/// By tenant, name and version.
pub(super) const FUNCTIONS: TableDefinition<'_, (&str, &str, u32), &[u8]> = TableDefinition::new("functions");
/// By tenant and name: the last version that was given out, so that none is given out twice.
pub(super) const VERSIONS: TableDefinition<'_, (&str, &str), u32> = TableDefinition::new("versions");
/// Encoded manifests by digest.
pub(super) const MANIFESTS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("manifests");
/// The last cold starts of an image, by tenant and image.
pub(super) const STARTS: TableDefinition<'_, (&str, &[u8; 32]), &[u8]> = TableDefinition::new("starts");
/// The containers that should run, by term and number.
pub(super) const CONTAINERS: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("containers");
