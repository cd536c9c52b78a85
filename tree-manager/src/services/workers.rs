//! Between workers and the manager.

use std::sync::{Arc, PoisonError};

use ft_core::{Digest, VmId};
use ft_identity::{Role, SigningRequest};
use ft_proto::v1::workers_server::Workers;
use ft_proto::v1::{
    Command, GetManifestRequest, GetManifestResponse, JoinRequest, JoinResponse, RenewRequest, RenewResponse,
    Report,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::to_the_end;
use crate::auth::{Caller, caller};
use crate::core::Core;
use crate::ids::shorten;
use crate::refusal::{Refusal, argument};
use crate::session;
use crate::state::Write;
use crate::state::record::VmRecord;
use crate::time::Now;

/// The service that workers call.
pub(crate) struct WorkersService(pub(crate) Arc<Core>);

#[tonic::async_trait]
impl Workers for WorkersService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        match caller(&request) {
            Caller::Joining | Caller::Admin => {}
            Caller::Nobody => return Err(Refusal::Unauthenticated("a join token is needed").into()),
            _ => return Err(Refusal::NotAllowed("joining takes a join token".to_owned()).into()),
        }
        let (core, request) = (Arc::clone(&self.0), request.into_inner());
        to_the_end(async move { join(&core, request).await }).await.map(Response::new)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let vm = caller(&request).require_vm()?;
        let (core, request) = (Arc::clone(&self.0), request.into_inner());
        to_the_end(async move { renew(&core, vm, &request).await }).await.map(Response::new)
    }

    type SessionStream = ReceiverStream<Result<Command, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<Report>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let vm = caller(&request).require_vm()?;
        let commands = session::run(Arc::clone(&self.0), vm, request.into_inner());
        Ok(Response::new(ReceiverStream::new(commands)))
    }

    async fn get_manifest(
        &self,
        request: Request<GetManifestRequest>,
    ) -> Result<Response<GetManifestResponse>, Status> {
        let vm = caller(&request).require_vm()?;
        let image: Digest = argument("image", &request.get_ref().image)?;
        let missing = || Refusal::NoImage { vm, image: image.to_string() };
        // A worker sees the images that its VM runs, not other tenants'.
        if !self.0.pool.needs(vm, image) {
            return Err(missing().into());
        }
        let manifest = self.0.store.manifest(image).await.map_err(Refusal::State)?.ok_or_else(missing)?;
        Ok(Response::new(GetManifestResponse { manifest }))
    }
}

async fn join(core: &Core, request: JoinRequest) -> Result<JoinResponse, Refusal> {
    let signing = SigningRequest::parse(&request.csr_der)?;
    let key = signing.public_key_sha256();
    let (vm, record) = known_vm(core, &request.vm, &key)?.unwrap_or_else(|| new_vm(core, key));
    let record = VmRecord { name: shorten(&request.name), ..record };
    let chain = core.authority.issue(&signing, Role::Vm(vm.0), core.settings.certificate_lifetime)?;
    core.store.write(vec![Write::NextVm(vm.0.saturating_add(1)), Write::Vm(vm, record.clone())]).await?;
    core.pool.put(vm, record, Now::read());
    tracing::info!(%vm, name = request.name, "a VM joined");
    Ok(JoinResponse {
        vm: vm.to_string(),
        certificate_chain_der: chain.iter().map(|certificate| certificate.to_vec()).collect(),
        origin_url: core.settings.origin_url.clone(),
        trust_domain: core.authority.trust_domain().to_owned(),
        lease_ms: u32::try_from(core.pool.lease().as_millis()).unwrap_or(u32::MAX),
    })
}

/// The VM that this host was before: the key proves it. A repeated call with the same key is the same VM.
fn known_vm(core: &Core, named: &str, key: &[u8; 32]) -> Result<Option<(VmId, VmRecord)>, Refusal> {
    let by_key = core.pool.by_key(key);
    if !named.is_empty() {
        let vm: VmId = argument("VM", named)?;
        if core.pool.record(vm).is_some() && by_key != Some(vm) {
            return Err(Refusal::NotAllowed(format!(
                "this is not the key of {vm}; join without naming a VM"
            )));
        }
    }
    Ok(by_key.and_then(|vm| Some((vm, core.pool.record(vm)?))))
}

fn new_vm(core: &Core, public_key_sha256: [u8; 32]) -> (VmId, VmRecord) {
    let mut next = core.next_vm.lock().unwrap_or_else(PoisonError::into_inner);
    let vm = VmId(*next);
    *next = next.saturating_add(1);
    (vm, VmRecord { name: String::new(), public_key_sha256, draining: false })
}

async fn renew(core: &Core, vm: VmId, request: &RenewRequest) -> Result<RenewResponse, Refusal> {
    let signing = SigningRequest::parse(&request.csr_der)?;
    let record = core.pool.record(vm).ok_or(Refusal::NoVm(vm))?;
    let record = VmRecord { public_key_sha256: signing.public_key_sha256(), ..record };
    let chain = core.authority.issue(&signing, Role::Vm(vm.0), core.settings.certificate_lifetime)?;
    core.store.write(vec![Write::Vm(vm, record.clone())]).await?;
    core.pool.put(vm, record, Now::read());
    Ok(RenewResponse {
        certificate_chain_der: chain.iter().map(|certificate| certificate.to_vec()).collect(),
    })
}
