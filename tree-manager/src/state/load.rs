//! Reading the state file at the start.

use std::fmt::Debug;

use ft_core::Digest;
use redb::{Database, Key, ReadableTable as _, TableDefinition, TableHandle as _, Value, WriteTransaction};
use serde::de::DeserializeOwned;

use super::record::{ContainerRecord, FunctionKey, FunctionRecord, StartRecord, TokenRecord, VmRecord};
use super::{FORMAT, StateError, tables};
use crate::ids::{ContainerId, TreeKey};

/// Everything in the state file except the manifests.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// This manager's term: greater than all before.
    pub(crate) term: u64,
    /// The number of the next VM to join.
    pub(crate) next_vm: u64,
    /// The authority's certificate and key in PEM, if there is one yet.
    pub(crate) authority: Option<(String, String)>,
    pub(crate) vms: Vec<(u64, VmRecord)>,
    pub(crate) tokens: Vec<([u8; 32], TokenRecord)>,
    pub(crate) functions: Vec<(FunctionKey, FunctionRecord)>,
    /// By tenant and name, the last version that was given out.
    pub(crate) versions: Vec<((String, String), u32)>,
    pub(crate) containers: Vec<(ContainerId, ContainerRecord)>,
    /// By image, its last cold starts.
    pub(crate) starts: Vec<(TreeKey, Vec<StartRecord>)>,
}

/// Checks the format, makes the term one greater on disk, and reads the rest in the same transaction.
pub(super) fn begin_term(database: &Database) -> Result<Loaded, StateError> {
    let transaction = database.begin_write().map_err(StateError::database)?;
    let mut loaded = counters(&transaction)?;
    {
        let table = transaction.open_table(tables::AUTHORITY).map_err(StateError::database)?;
        let text = |key| -> Result<Option<String>, StateError> {
            Ok(table.get(key).map_err(StateError::database)?.map(|value| value.value().to_owned()))
        };
        loaded.authority = text("certificate")?.zip(text("key")?);
    }
    loaded.vms = records(&transaction, tables::VMS, |key| key)?;
    loaded.tokens = records(&transaction, tables::TOKENS, |key| *key)?;
    loaded.functions = records(&transaction, tables::FUNCTIONS, |(tenant, name, version)| FunctionKey {
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        version,
    })?;
    loaded.containers =
        records(&transaction, tables::CONTAINERS, |(term, number)| ContainerId { term, number })?;
    loaded.starts = records(&transaction, tables::STARTS, |(tenant, image)| TreeKey {
        tenant: tenant.into(),
        image: Digest::from_bytes(*image),
    })?;
    {
        let table = transaction.open_table(tables::VERSIONS).map_err(StateError::database)?;
        for entry in table.iter().map_err(StateError::database)? {
            let (key, version) = entry.map_err(StateError::database)?;
            let (tenant, name) = key.value();
            loaded.versions.push(((tenant.to_owned(), name.to_owned()), version.value()));
        }
    }
    // Created here, so that reading it never fails.
    drop(transaction.open_table(tables::MANIFESTS).map_err(StateError::database)?);
    transaction.commit().map_err(StateError::database)?;
    Ok(loaded)
}

fn counters(transaction: &WriteTransaction) -> Result<Loaded, StateError> {
    let mut table = transaction.open_table(tables::COUNTERS).map_err(StateError::database)?;
    let mut counter = |key, default, next: fn(u64) -> u64| -> Result<u64, StateError> {
        let stored = table.get(key).map_err(StateError::database)?.map(|value| value.value());
        let value = next(stored.unwrap_or(default));
        table.insert(key, value).map_err(StateError::database)?;
        Ok(value)
    };
    let found = counter("format", FORMAT, |format| format)?;
    if found != FORMAT {
        return Err(StateError::Format { found });
    }
    let term = counter("term", 0, |term| term + 1)?;
    let next_vm = counter("next_vm", 1, |vm| vm)?;
    Ok(Loaded { term, next_vm, ..Loaded::default() })
}

/// All records of a table, in the order of their keys.
fn records<K, Owned, Record>(
    transaction: &WriteTransaction,
    definition: TableDefinition<'static, K, &'static [u8]>,
    own: impl Fn(K::SelfType<'_>) -> Owned,
) -> Result<Vec<(Owned, Record)>, StateError>
where
    K: Key + 'static,
    for<'a> <K as Value>::SelfType<'a>: Debug + Clone,
    Record: DeserializeOwned,
{
    let table = transaction.open_table(definition).map_err(StateError::database)?;
    let mut records = Vec::new();
    for entry in table.iter().map_err(StateError::database)? {
        let (key, value) = entry.map_err(StateError::database)?;
        let record = serde_json::from_slice(value.value()).map_err(|error| StateError::Damaged {
            table: definition.name().to_owned(),
            key: format!("{:?}", key.value()),
            cause: error.to_string(),
        })?;
        records.push((own(key.value()), record));
    }
    Ok(records)
}
