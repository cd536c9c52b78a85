//! Stopping containers, and commands inside them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ft_core::VmId;
use ft_proto::v1::{self, ContainerState, command};
use tokio::sync::mpsc;

use crate::auth::Caller;
use crate::core::Core;
use crate::functions::Function;
use crate::ids::{ContainerId, TreeKey};
use crate::refusal::{Refusal, argument};
use crate::state::Write;
use crate::time::Now;
use crate::trees::{TreeCell, state_name};

/// How long a call waits for containers to stop; they go on stopping after it.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// How long a command inside a container may run if the caller does not say.
const DEFAULT_EXEC: Duration = Duration::from_secs(60);
/// What a command's way to the worker and back may take on top.
const EXEC_MARGIN: Duration = Duration::from_secs(5);

/// The containers of one version that a call is about: those of `named` that are its own, or, if none are named,
/// its newest `count`. Those that have ended are no error when named: a repeated call finds nothing to do.
fn choose(
    cell: &TreeCell,
    function: &Function,
    named: &BTreeSet<ContainerId>,
    count: usize,
) -> Vec<ContainerId> {
    let tree = cell.lock();
    if named.is_empty() {
        let wanted: BTreeSet<ContainerId> = tree.wanted(&function.label).collect();
        return wanted.into_iter().rev().take(count).collect();
    }
    let own = |id: &&ContainerId| {
        tree.container(**id).is_some_and(|container| container.function.key == function.key)
    };
    named.iter().filter(own).copied().collect()
}

impl Core {
    /// Stops containers of a function (of all its versions, if the request names none): those named, or the
    /// newest so many, or all. Returns when they have ended, or after [`STOP_WAIT`].
    pub(crate) async fn reclaim(
        &self,
        tenant: &str,
        request: v1::ReclaimRequest,
    ) -> Result<Vec<ContainerId>, Refusal> {
        let functions = self.functions.find_all(tenant, &request.function.parse()?)?;
        let named: BTreeSet<ContainerId> = request
            .containers
            .iter()
            .map(|container| argument("container", container))
            .collect::<Result<_, _>>()?;
        let count = if request.count == 0 { usize::MAX } else { request.count as usize };
        let mut chosen: Vec<(Arc<TreeCell>, Vec<ContainerId>)> = Vec::new();
        let mut found = 0;
        for function in functions {
            let key = TreeKey { tenant: tenant.into(), image: function.record.image };
            let Some(cell) = self.trees.get(&key) else { continue };
            let ids = choose(&cell, &function, &named, count - found);
            found += ids.len();
            chosen.push((cell, ids));
        }
        let ids: Vec<ContainerId> = chosen.iter().flat_map(|(_, ids)| ids).copied().collect();
        if let Some(unknown) = named.iter().find(|id| !ids.contains(id)) {
            return Err(Refusal::NoContainer(*unknown));
        }
        let stops = chosen.iter().map(|(cell, ids)| self.stop(cell, ids, "reclaimed"));
        futures_util::future::try_join_all(stops).await?;
        Ok(ids)
    }

    /// Nothing is placed on the VM any more, and its containers stop.
    pub(crate) async fn drain(&self, vm: VmId) -> Result<(), Refusal> {
        let record = self.pool.record(vm).ok_or(Refusal::NoVm(vm))?;
        let record = crate::state::record::VmRecord { draining: true, ..record };
        self.store.write(vec![Write::Vm(vm, record)]).await?;
        let cells: Vec<_> = self.pool.drain(vm)?.iter().filter_map(|key| self.trees.get(key)).collect();
        let stops = cells.iter().map(async |cell| {
            let containers = cell.lock().on_vm(vm);
            self.stop(cell, &containers, "its VM drains").await
        });
        futures_util::future::try_join_all(stops).await?;
        Ok(())
    }

    /// Makes it durable that containers should not run, tells their workers, and waits for their end.
    async fn stop(&self, cell: &Arc<TreeCell>, ids: &[ContainerId], cause: &str) -> Result<(), Refusal> {
        let forget = |ids: &[ContainerId]| ids.iter().map(|id| Write::ForgetContainer(*id)).collect();
        // Whoever does not want a container does not want the one that took its place.
        let ids = cell.lock().with_replacements(ids);
        self.store.write(forget(&ids)).await?;
        let (watcher, mut events) = mpsc::unbounded_channel();
        let mut late = Vec::new();
        self.change(cell, |tree| {
            let all = tree.with_replacements(&ids);
            all.iter().for_each(|id| tree.watch(*id, &watcher));
            late.extend(all.iter().filter(|id| !ids.contains(id)).copied());
            tree.reclaim(&all, cause, Now::read())
        });
        drop(watcher);
        if !late.is_empty() {
            self.store.write(forget(&late)).await?;
        }
        // Watchers are let go when their container ends, so the events end with the last one.
        let ended = async { while events.recv().await.is_some() {} };
        if tokio::time::timeout(STOP_WAIT, ended).await.is_err() {
            tracing::warn!(containers = ids.len(), "containers take long to stop");
        }
        Ok(())
    }

    /// Runs a command inside a container.
    pub(crate) async fn exec(
        &self,
        caller: &Caller,
        request: v1::ExecContainerRequest,
    ) -> Result<v1::ExecContainerResponse, Refusal> {
        let id: ContainerId = argument("container", &request.container)?;
        if request.args.is_empty() {
            return Err(Refusal::Invalid("no command was given".to_owned()));
        }
        let vm = self.running_on(caller, id)?;
        let timeout = match request.timeout_ms {
            0 => DEFAULT_EXEC,
            ms => Duration::from_millis(ms.into()),
        };
        let exec = v1::Exec {
            container: request.container,
            args: request.args,
            stdin: request.stdin,
            timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        };
        let patience = timeout.saturating_add(EXEC_MARGIN);
        let result = self.ask(vm, command::Command::Exec(exec), patience).await?;
        if !result.error.is_empty() {
            return Err(Refusal::CommandFailed(result.error));
        }
        let v1::CommandResult { stdout, stderr, exit_code, .. } = result;
        Ok(v1::ExecContainerResponse { stdout, stderr, exit_code })
    }

    fn running_on(&self, caller: &Caller, id: ContainerId) -> Result<VmId, Refusal> {
        // Another tenant's containers do not exist for this one.
        let cell = self.trees.of_container(id).filter(|cell| caller.may_use(&cell.key.tenant));
        let cell = cell.ok_or(Refusal::NoContainer(id))?;
        let tree = cell.lock();
        let container = tree.container(id).ok_or(Refusal::NoContainer(id))?;
        match container.state() {
            ContainerState::Started | ContainerState::Ready => Ok(container.vm),
            state => Err(Refusal::NotRunning { container: id, state: state_name(state) }),
        }
    }
}
