//! The VM pool.

use std::sync::Arc;
use std::time::Duration;

use ft_core::VmId;
use ft_identity::Token;
use ft_proto::v1;
use ft_proto::v1::pool_server::Pool;
use ft_proto::v1::{
    ClientRole, CreateClientTokenRequest, CreateClientTokenResponse, CreateJoinTokenRequest,
    CreateJoinTokenResponse, DrainVmRequest, DrainVmResponse, ListVmsRequest, ListVmsResponse,
};
use tonic::{Request, Response, Status};

use super::to_the_end;
use crate::auth::caller;
use crate::core::Core;
use crate::ids::{is_function_name, shorten};
use crate::refusal::{Refusal, argument};
use crate::state::Write;
use crate::state::record::{TokenRecord, TokenUse};
use crate::time::Now;

const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The service for the VM pool.
pub(crate) struct PoolService(pub(crate) Arc<Core>);

#[tonic::async_trait]
impl Pool for PoolService {
    async fn list_vms(&self, request: Request<ListVmsRequest>) -> Result<Response<ListVmsResponse>, Status> {
        caller(&request).require_admin()?;
        Ok(Response::new(ListVmsResponse { vms: self.0.describe_vms() }))
    }

    async fn drain_vm(&self, request: Request<DrainVmRequest>) -> Result<Response<DrainVmResponse>, Status> {
        caller(&request).require_admin()?;
        let vm: VmId = argument("VM", &request.get_ref().vm)?;
        let core = Arc::clone(&self.0);
        to_the_end(async move { core.drain(vm).await }).await?;
        Ok(Response::new(DrainVmResponse {}))
    }

    async fn set_vm_limits(
        &self,
        request: Request<v1::SetVmLimitsRequest>,
    ) -> Result<Response<v1::SetVmLimitsResponse>, Status> {
        caller(&request).require_admin()?;
        let vm: VmId = argument("VM", &request.get_ref().vm)?;
        let (core, limits) = (Arc::clone(&self.0), request.get_ref().limits.unwrap_or_default());
        to_the_end(async move { core.set_limits(vm, limits).await }).await?;
        Ok(Response::new(v1::SetVmLimitsResponse {}))
    }

    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Result<Response<CreateJoinTokenResponse>, Status> {
        caller(&request).require_admin()?;
        let token = self.token(TokenUse::Join, request.get_ref().ttl_s).await?;
        Ok(Response::new(CreateJoinTokenResponse { token }))
    }

    async fn create_client_token(
        &self,
        request: Request<CreateClientTokenRequest>,
    ) -> Result<Response<CreateClientTokenResponse>, Status> {
        caller(&request).require_admin()?;
        let request = request.into_inner();
        if !is_function_name(&request.name) {
            return Err(Refusal::Invalid(format!("{:?} is no client's name", shorten(&request.name))).into());
        }
        let purpose = match request.role() {
            ClientRole::Admin => TokenUse::Admin(request.name),
            ClientRole::Tenant => TokenUse::Tenant(request.name),
            ClientRole::Unspecified => return Err(Refusal::Invalid("no role was given".to_owned()).into()),
        };
        let token = self.token(purpose, request.ttl_s).await?;
        Ok(Response::new(CreateClientTokenResponse { token }))
    }
}

impl PoolService {
    async fn token(&self, purpose: TokenUse, ttl_s: u32) -> Result<String, Status> {
        let lifetime = match ttl_s {
            0 => DEFAULT_TOKEN_LIFETIME,
            seconds => Duration::from_secs(seconds.into()),
        };
        let core = Arc::clone(&self.0);
        let token = to_the_end(async move { core.create_token(purpose, Some(lifetime)).await }).await?;
        Ok(token.to_string())
    }
}

impl Core {
    /// A new token, good for `purpose` for so long, or for ever.
    pub(crate) async fn create_token(
        &self,
        purpose: TokenUse,
        lifetime: Option<Duration>,
    ) -> Result<Token, Refusal> {
        let token = Token::generate(self.authority.ca_sha256())?;
        let now = Now::read().unix_seconds();
        let expires_unix = lifetime.map(|lifetime| now.saturating_add(lifetime.as_secs()));
        let record = TokenRecord { purpose, expires_unix };
        let secret = token.secret.sha256();
        self.store.write(vec![Write::Token(secret, record.clone())]).await?;
        self.tokens.insert(secret, record);
        Ok(token)
    }
}
