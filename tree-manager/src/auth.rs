//! Who calls, and what they may do.

use std::sync::Arc;

use ft_core::VmId;
use ft_identity::{PeerInfo, Role, Token};
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status};

use crate::core::Core;
use crate::refusal::Refusal;
use crate::state::record::TokenUse;
use crate::time::Now;

/// The tenant of admins that name none.
const DEFAULT_TENANT: &str = "default";

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// May do everything that clients do.
    Admin,
    /// May use its own functions and containers.
    Tenant(String),
    /// A worker.
    Vm(VmId),
    /// The bearer of a join token.
    Joining,
    /// Somebody who showed nothing.
    Nobody,
}

impl Caller {
    /// Who calls, by the certificate of the connection or else by the call's bearer token.
    fn identify(core: &Core, extensions: &Extensions, metadata: &MetadataMap) -> Result<Self, Refusal> {
        let peer = extensions.get::<PeerInfo>().and_then(|peer| peer.uri.as_ref());
        match peer.map(|uri| uri.role()) {
            Some(Role::Admin(_)) => Ok(Self::Admin),
            Some(Role::Tenant(name)) => Ok(Self::Tenant(name.clone())),
            Some(Role::Vm(number)) => Ok(Self::Vm(VmId(*number))),
            Some(Role::Manager) => Err(Refusal::NotAllowed("managers do not call each other".to_owned())),
            None => Self::by_token(core, metadata),
        }
    }

    fn by_token(core: &Core, metadata: &MetadataMap) -> Result<Self, Refusal> {
        let Some(header) = metadata.get("authorization") else { return Ok(Self::Nobody) };
        let bad = Refusal::Unauthenticated("the authorization header is not `Bearer ft1.…`");
        let Some(token) = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")) else {
            return Err(bad);
        };
        let token: Token = token.parse().map_err(|_| bad)?;
        if token.ca_sha256 != core.authority.ca_sha256() {
            return Err(Refusal::Unauthenticated("the token is another manager's"));
        }
        match core.tokens.find(&token.secret.sha256(), Now::read()) {
            Some(TokenUse::Join) => Ok(Self::Joining),
            Some(TokenUse::Admin(_)) => Ok(Self::Admin),
            Some(TokenUse::Tenant(name)) => Ok(Self::Tenant(name)),
            None => Err(Refusal::Unauthenticated("the token is unknown or has expired")),
        }
    }

    /// Whose functions and containers a client's call is about.
    pub(crate) fn tenant(&self, named: &str) -> Result<String, Refusal> {
        Ok(self.tenant_or_all(named)?.unwrap_or_else(|| DEFAULT_TENANT.to_owned()))
    }

    /// As [`tenant`](Self::tenant), for lists: admins that name none mean all tenants.
    pub(crate) fn tenant_or_all(&self, named: &str) -> Result<Option<String>, Refusal> {
        match self {
            Self::Admin if named.is_empty() => Ok(None),
            Self::Admin if crate::ids::is_function_name(named) => Ok(Some(named.to_owned())),
            Self::Admin => Err(Refusal::Invalid(format!("{:?} is no tenant", crate::ids::shorten(named)))),
            Self::Tenant(own) if named.is_empty() || named == own => Ok(Some(own.clone())),
            Self::Tenant(own) => Err(Refusal::NotAllowed(format!("tenant {own} may not act for another"))),
            _ => Err(self.not_a_client()),
        }
    }

    /// Whether a client may use what belongs to this tenant.
    pub(crate) fn may_use(&self, tenant: &str) -> bool {
        match self {
            Self::Admin => true,
            Self::Tenant(own) => own == tenant,
            _ => false,
        }
    }

    pub(crate) fn require_client(&self) -> Result<(), Refusal> {
        match self {
            Self::Admin | Self::Tenant(_) => Ok(()),
            _ => Err(self.not_a_client()),
        }
    }

    pub(crate) fn require_admin(&self) -> Result<(), Refusal> {
        match self {
            Self::Admin => Ok(()),
            Self::Tenant(name) => Err(Refusal::NotAllowed(format!("tenant {name} is no admin"))),
            _ => Err(self.not_a_client()),
        }
    }

    pub(crate) fn require_vm(&self) -> Result<VmId, Refusal> {
        match self {
            Self::Vm(vm) => Ok(*vm),
            Self::Nobody | Self::Joining => {
                Err(Refusal::Unauthenticated("a worker's certificate is needed; join first"))
            }
            _ => Err(Refusal::NotAllowed("only workers may call this".to_owned())),
        }
    }

    fn not_a_client(&self) -> Refusal {
        match self {
            Self::Nobody => Refusal::Unauthenticated("a client's certificate or token is needed"),
            Self::Joining => Refusal::NotAllowed("a join token is for joining only".to_owned()),
            Self::Vm(vm) => Refusal::NotAllowed(format!("{vm} is a worker, and no client")),
            Self::Admin | Self::Tenant(_) => Refusal::NotAllowed("clients only".to_owned()),
        }
    }
}

/// Finds out who calls before anything of the call's body is read.
#[derive(Clone)]
pub(crate) struct Guard {
    core: Arc<Core>,
    clients_only: bool,
}

impl Guard {
    /// For services that clients alone may call.
    pub(crate) fn clients(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), clients_only: true }
    }

    /// For the service in which each call has its own rule.
    pub(crate) fn anybody(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), clients_only: false }
    }
}

impl tonic::service::Interceptor for Guard {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = Caller::identify(&self.core, request.extensions(), request.metadata())?;
        if self.clients_only {
            caller.require_client()?;
        }
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// Who makes this call; the guard has found it out.
pub(crate) fn caller<T>(request: &Request<T>) -> Caller {
    request.extensions().get::<Caller>().cloned().unwrap_or(Caller::Nobody)
}
