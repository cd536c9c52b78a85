//! Functions: named, versioned, and which of their blobs somebody still needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ft_core::Digest;
use ft_proto::v1;

use crate::ids::{FunctionRef, TreeKey};
use crate::refusal::Refusal;
use crate::state::record::{FunctionKey, FunctionRecord};

/// One version of a function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) key: FunctionKey,
    pub(crate) record: FunctionRecord,
    /// `NAME@VERSION`.
    pub(crate) label: String,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    /// Containers placed and not ended.
    containers: u32,
    deleted: bool,
}

impl Function {
    fn new(key: FunctionKey, record: FunctionRecord) -> Arc<Self> {
        let label = key.to_string();
        Arc::new(Self { key, record, label, usage: Mutex::default() })
    }

    /// Counts containers that are about to be placed, so that the function stays until they have ended.
    pub(crate) fn begin_use(&self, containers: u32) -> Result<(), Refusal> {
        let mut usage = self.usage();
        if usage.deleted {
            return Err(Refusal::NoFunction(self.label.clone()));
        }
        usage.containers = usage.containers.saturating_add(containers);
        Ok(())
    }

    /// Takes back what [`begin_use`](Self::begin_use) counted.
    pub(crate) fn end_use(&self, containers: u32) {
        let mut usage = self.usage();
        usage.containers = usage.containers.saturating_sub(containers);
    }

    /// From now on no container can be placed; refused while there are some.
    fn delete(&self) -> Result<(), Refusal> {
        let mut usage = self.usage();
        if usage.containers > 0 {
            return Err(Refusal::InUse { function: self.label.clone(), containers: usage.containers });
        }
        usage.deleted = true;
        Ok(())
    }

    fn undelete(&self) {
        self.usage().deleted = false;
    }

    fn usage(&self) -> std::sync::MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As clients see it.
    pub(crate) fn describe(&self) -> v1::Function {
        let record = &self.record;
        v1::Function {
            name: self.key.name.clone(),
            version: self.key.version,
            image: record.image.to_string(),
            origin: record.origin.clone(),
            source: record.source.clone(),
            tenant: self.key.tenant.clone(),
            image_bytes: record.image_bytes,
            stored_bytes: record.stored_bytes,
            blocks: record.blocks,
            created_unix_us: record.created_unix_us,
            containers: self.usage().containers,
        }
    }

    /// The blobs that it needs in the origin: its manifest and its packs.
    fn blobs(&self) -> impl Iterator<Item = Digest> + '_ {
        std::iter::once(self.record.image).chain(self.record.packs.iter().copied())
    }
}

/// All functions of all tenants.
#[derive(Debug)]
pub(crate) struct Functions(RwLock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_key: BTreeMap<FunctionKey, Arc<Function>>,
    /// By tenant and name, the last version that was given out.
    versions: BTreeMap<(String, String), u32>,
}

impl Functions {
    pub(crate) fn restore(
        functions: Vec<(FunctionKey, FunctionRecord)>,
        versions: Vec<((String, String), u32)>,
    ) -> Self {
        let by_key =
            functions.into_iter().map(|(key, record)| (key.clone(), Function::new(key, record))).collect();
        Self(RwLock::new(Inner { by_key, versions: versions.into_iter().collect() }))
    }

    /// The key of a new version. The version is used up even if it is never inserted.
    pub(crate) fn next_version(&self, tenant: &str, name: &str) -> FunctionKey {
        let mut inner = self.write();
        let version = inner.versions.entry((tenant.to_owned(), name.to_owned())).or_default();
        *version = version.saturating_add(1);
        FunctionKey { tenant: tenant.to_owned(), name: name.to_owned(), version: *version }
    }

    /// Adds a version that is on disk.
    pub(crate) fn insert(&self, key: FunctionKey, record: FunctionRecord) -> Arc<Function> {
        let function = Function::new(key.clone(), record);
        self.write().by_key.insert(key, Arc::clone(&function));
        function
    }

    /// The versions that a request names, the newest first: all of them, or the one. Never none.
    pub(crate) fn find_all(&self, tenant: &str, wanted: &FunctionRef) -> Result<Vec<Arc<Function>>, Refusal> {
        let newest = self.find(tenant, wanted)?;
        if wanted.version.is_some() {
            return Ok(vec![newest]);
        }
        Ok(self.read().versions_of(tenant, &wanted.name).rev().cloned().collect())
    }

    /// The version that a request names.
    pub(crate) fn find(&self, tenant: &str, wanted: &FunctionRef) -> Result<Arc<Function>, Refusal> {
        let inner = self.read();
        let found = inner
            .versions_of(tenant, &wanted.name)
            .rfind(|function| wanted.version.is_none_or(|version| function.key.version == version));
        found.cloned().ok_or_else(|| {
            Refusal::NoFunction(match wanted.version {
                Some(version) => format!("{}@{version} of tenant {tenant}", wanted.name),
                None => format!("{} of tenant {tenant}", wanted.name),
            })
        })
    }

    /// The function with this very key.
    pub(crate) fn get(&self, key: &FunctionKey) -> Option<Arc<Function>> {
        self.read().by_key.get(key).cloned()
    }

    /// A function of this tree's tenant with its image, if there is one.
    pub(crate) fn with_image(&self, key: &TreeKey) -> Option<Arc<Function>> {
        let own = |function: &&Arc<Function>| {
            *function.key.tenant == *key.tenant && function.record.image == key.image
        };
        self.read().by_key.values().find(own).cloned()
    }

    /// All functions of a tenant, or of all tenants; the newest version of each, or all versions.
    pub(crate) fn list(&self, tenant: Option<&str>, all_versions: bool) -> Vec<Arc<Function>> {
        let inner = self.read();
        let mut functions: Vec<Arc<Function>> = Vec::new();
        for function in inner.by_key.values() {
            if tenant.is_some_and(|tenant| tenant != function.key.tenant) {
                continue;
            }
            // Versions of one function are neighbours, in ascending order.
            if let Some(last) = functions.last_mut()
                && !all_versions
                && (&last.key.tenant, &last.key.name) == (&function.key.tenant, &function.key.name)
            {
                *last = Arc::clone(function);
            } else {
                functions.push(Arc::clone(function));
            }
        }
        functions
    }

    /// Takes one version out, or all if `wanted` names none: all of them or, when one is in use, none.
    pub(crate) fn remove(&self, tenant: &str, wanted: &FunctionRef) -> Result<Vec<Arc<Function>>, Refusal> {
        let mut inner = self.write();
        let chosen: Vec<_> = inner
            .versions_of(tenant, &wanted.name)
            .filter(|function| wanted.version.is_none_or(|version| function.key.version == version))
            .cloned()
            .collect();
        if chosen.is_empty() {
            return Err(Refusal::NoFunction(wanted.name.clone()));
        }
        for (done, function) in chosen.iter().enumerate() {
            if let Err(refusal) = function.delete() {
                chosen[..done].iter().for_each(|function| function.undelete());
                return Err(refusal);
            }
        }
        for function in &chosen {
            inner.by_key.remove(&function.key);
        }
        Ok(chosen)
    }

    /// Puts back what [`remove`](Self::remove) took, because it could not be made durable.
    pub(crate) fn put_back(&self, functions: &[Arc<Function>]) {
        let mut inner = self.write();
        for function in functions {
            function.undelete();
            inner.by_key.insert(function.key.clone(), Arc::clone(function));
        }
    }

    /// Those of the removed functions' blobs that no other function needs.
    pub(crate) fn unreferenced(&self, removed: &[Arc<Function>]) -> BTreeSet<Digest> {
        let mut blobs: BTreeSet<Digest> = removed.iter().flat_map(|function| function.blobs()).collect();
        for function in self.read().by_key.values() {
            for blob in function.blobs() {
                blobs.remove(&blob);
            }
        }
        blobs
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// In ascending order of versions.
    fn versions_of(&self, tenant: &str, name: &str) -> impl DoubleEndedIterator<Item = &Arc<Function>> {
        let key = |version| FunctionKey { tenant: tenant.to_owned(), name: name.to_owned(), version };
        self.by_key.range(key(0)..=key(u32::MAX)).map(|(_, function)| function)
    }
}
