//! What a FaaS scheduler calls.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use ft_proto::v1::scheduler_server::Scheduler;
use ft_proto::v1::{
    Container, ContainerEvent, ContainerState, ExecContainerRequest, ExecContainerResponse,
    ListContainersRequest, ListContainersResponse, ProvisionRequest, ReclaimRequest, ReclaimResponse,
};
use futures_util::stream::{self, Stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::to_the_end;
use crate::auth::caller;
use crate::core::Core;
use crate::functions::Function;
use crate::ids::FunctionRef;
use crate::provision::Provisioning;
use crate::refusal::Refusal;

/// The service that schedulers call.
pub(crate) struct SchedulerService(pub(crate) Arc<Core>);

#[tonic::async_trait]
impl Scheduler for SchedulerService {
    type ProvisionStream = Pin<Box<dyn Stream<Item = Result<ContainerEvent, Status>> + Send>>;

    async fn provision(
        &self,
        request: Request<ProvisionRequest>,
    ) -> Result<Response<Self::ProvisionStream>, Status> {
        let tenant = caller(&request).tenant(&request.get_ref().tenant)?;
        let (core, request) = (Arc::clone(&self.0), request.into_inner());
        let provisioning = to_the_end(async move { core.provision(&tenant, request).await }).await?;
        Ok(Response::new(Box::pin(events(provisioning, self.0.shutdown.clone()))))
    }

    async fn reclaim(&self, request: Request<ReclaimRequest>) -> Result<Response<ReclaimResponse>, Status> {
        let tenant = caller(&request).tenant(&request.get_ref().tenant)?;
        let (core, request) = (Arc::clone(&self.0), request.into_inner());
        let reclaimed = to_the_end(async move { core.reclaim(&tenant, request).await }).await?;
        let containers = reclaimed.iter().map(ToString::to_string).collect();
        Ok(Response::new(ReclaimResponse { containers }))
    }

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersResponse>, Status> {
        let caller = caller(&request);
        let request = request.into_inner();
        let containers = if request.function.is_empty() {
            list(&self.0, caller.tenant_or_all(&request.tenant)?.as_deref(), None)
        } else {
            let tenant = caller.tenant(&request.tenant)?;
            let wanted: FunctionRef = request.function.parse().map_err(Refusal::from)?;
            let function = self.0.functions.find(&tenant, &wanted)?;
            // A name without a version means all of its versions.
            let version = wanted.version.map(|_| &*function);
            list(&self.0, Some(&tenant), Some((&wanted.name, version)))
        };
        Ok(Response::new(ListContainersResponse { containers }))
    }

    async fn exec_container(
        &self,
        request: Request<ExecContainerRequest>,
    ) -> Result<Response<ExecContainerResponse>, Status> {
        let caller = caller(&request);
        Ok(Response::new(self.0.exec(&caller, request.into_inner()).await?))
    }
}

/// Containers in the order in which they were placed, of a tenant or all, of a function or all.
fn list(core: &Core, tenant: Option<&str>, function: Option<(&str, Option<&Function>)>) -> Vec<Container> {
    let mut found = Vec::new();
    for cell in core.trees.all() {
        if tenant.is_some_and(|tenant| tenant != &*cell.key.tenant) {
            continue;
        }
        let tree = cell.lock();
        for container in tree.containers().filter(|container| !container.history().is_empty()) {
            let (own, wanted) = (&container.function, function);
            let matches = wanted.is_none_or(|(name, version)| {
                own.key.name == name && version.is_none_or(|version| version.key == own.key)
            });
            if matches {
                let vm_name = core.pool.name(container.vm);
                found.push((
                    container.id,
                    Container {
                        container: container.id.to_string(),
                        function: own.label.clone(),
                        vm: container.vm.to_string(),
                        vm_name,
                        history: container.history().to_vec(),
                        state: container.state().into(),
                    },
                ));
            }
        }
    }
    found.sort_by_key(|(id, _)| *id);
    found.into_iter().map(|(_, container)| container).collect()
}

struct Watch {
    events: mpsc::UnboundedReceiver<ContainerEvent>,
    containers: usize,
    /// Containers that were READY or have ended.
    settled: BTreeSet<String>,
    deadline: tokio::time::Instant,
    shutdown: CancellationToken,
}

impl Watch {
    fn note(&mut self, event: &ContainerEvent) {
        let settles = [ContainerState::Ready, ContainerState::Failed, ContainerState::Stopped];
        if !event.replaced_by.is_empty() {
            // The one that takes its place is what counts.
            self.settled.remove(&event.container);
        } else if settles.contains(&event.state()) {
            self.settled.insert(event.container.clone());
        }
    }
}

/// The events of all containers, until each was READY or has ended, or the deadline.
fn events(
    provisioning: Provisioning,
    shutdown: CancellationToken,
) -> impl Stream<Item = Result<ContainerEvent, Status>> + Send {
    let watch = Watch {
        events: provisioning.events,
        containers: provisioning.containers,
        settled: BTreeSet::new(),
        deadline: tokio::time::Instant::now() + provisioning.deadline,
        shutdown,
    };
    stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        if watch.settled.len() >= watch.containers {
            return None;
        }
        tokio::select! {
            event = watch.events.recv() => {
                let event = event?;
                watch.note(&event);
                Some((Ok(event), Some(watch)))
            }
            () = tokio::time::sleep_until(watch.deadline) => None,
            () = watch.shutdown.cancelled() => Some((Err(Refusal::ShuttingDown.into()), None)),
        }
    })
}
