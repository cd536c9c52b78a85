//! What a start leaves in the state folder for clients and workers on this host, and the manager's own identity.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ft_identity::{CertificateAuthority, CurrentIdentity, Host, Identity, Role, Token, write_private};
use serde::Serialize;

use crate::core::Core;
use crate::manager::ManagerError;
use crate::refusal::Refusal;
use crate::state::record::TokenUse;
use crate::state::{Loaded, Store, Write};

/// How long the admin's certificate lasts; every start of the manager writes a new one.
const ADMIN_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// How soon a failed renewal of the manager's own certificate is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The admin credential as `ft` reads it from `admin.json`.
#[derive(Serialize)]
struct AdminCredential<'a> {
    manager: &'a str,
    origin: &'a str,
    ca_pem: String,
    certificate_pem: String,
    key_pem: String,
}

/// The authority on disk; a new one at the first start.
pub(crate) async fn authority(
    store: &Store,
    loaded: &Loaded,
    trust_domain: &str,
) -> Result<CertificateAuthority, ManagerError> {
    if let Some((certificate, key)) = &loaded.authority {
        let authority = CertificateAuthority::from_pem(certificate, key)?;
        if authority.trust_domain() != trust_domain {
            return Err(ManagerError::TrustDomain {
                found: authority.trust_domain().to_owned(),
                wanted: trust_domain.to_owned(),
            });
        }
        return Ok(authority);
    }
    let authority = CertificateAuthority::generate(trust_domain)?;
    let (certificate, key) = (authority.certificate_pem(), authority.key_pem());
    store.write(vec![Write::Authority { certificate, key }]).await?;
    Ok(authority)
}

/// Writes `admin.json`: where the manager is, and a new certificate for its admin.
pub(crate) fn write_admin(core: &Core, dir: &Path, url: &str) -> Result<(), ManagerError> {
    let admin = core.authority.issue_identity(Role::Admin("admin".to_owned()), &[], ADMIN_LIFETIME)?;
    let credential = AdminCredential {
        manager: url,
        origin: &core.settings.origin_url,
        ca_pem: core.authority.certificate_pem(),
        certificate_pem: admin.certificates_pem(),
        key_pem: admin.key().to_pem()?,
    };
    let json = serde_json::to_vec_pretty(&credential)
        .map_err(|error| ManagerError::Credential(error.to_string()))?;
    Ok(write_private(&dir.join("admin.json"), &json)?)
}

/// The join token in the state folder; a new one if there is none, or if it is not one of ours any more.
/// It does not expire: a worker may be started with it at any time.
pub(crate) async fn join_token(core: &Core, dir: &Path) -> Result<Token, ManagerError> {
    let path = dir.join("join-token");
    let known =
        std::fs::read_to_string(&path).ok().and_then(|text| text.parse::<Token>().ok()).filter(|token| {
            let purpose = core.tokens.find(&token.secret.sha256(), crate::time::Now::read());
            token.ca_sha256 == core.authority.ca_sha256() && purpose == Some(TokenUse::Join)
        });
    if let Some(token) = known {
        return Ok(token);
    }
    let token = core.create_token(TokenUse::Join, None).await.map_err(|refusal| match refusal {
        Refusal::State(error) => ManagerError::State(error),
        Refusal::Identity(error) => ManagerError::Identity(error),
        other => ManagerError::Credential(other.to_string()),
    })?;
    write_private(&path, format!("{token}\n").as_bytes())?;
    Ok(token)
}

/// The manager's own identity, for its gRPC server and the origin server beside it.
pub(crate) fn own_identity(
    authority: &CertificateAuthority,
    hosts: &[Host],
    lifetime: Duration,
) -> Result<Identity, ft_identity::Error> {
    authority.issue_identity(Role::Manager, hosts, lifetime)
}

/// Replaces the manager's certificate before it expires, for as long as the manager runs.
pub(crate) async fn keep_fresh(core: Arc<Core>, identity: Arc<CurrentIdentity>, hosts: Vec<Host>) {
    loop {
        let due = identity.get().renew_at().duration_since(SystemTime::now()).unwrap_or(RETRY);
        tokio::select! {
            () = tokio::time::sleep(due) => {}
            () = core.shutdown.cancelled() => return,
        }
        let lifetime = core.settings.certificate_lifetime;
        let renewed =
            own_identity(&core.authority, &hosts, lifetime).and_then(|fresh| identity.replace(fresh));
        if let Err(error) = renewed {
            tracing::error!(%error, "the manager's certificate was not renewed");
        }
    }
}
