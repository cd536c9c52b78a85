//! Becoming, and staying, a member of the pool.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ft_core::VmId;
use ft_identity::{
    ALPN_H2, CurrentIdentity, ExpectedPeer, Identity, PrivateKey, Token, TrustRoots, client_config,
    client_config_pinned, connect_grpc,
};
use ft_proto::v1;
use ft_proto::v1::workers_client::WorkersClient;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::backoff::Backoff;
use crate::error::WorkerError;
use crate::options::WorkerOptions;
use crate::state::StateDir;

/// How long the manager may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Who this worker is, and whose.
#[derive(Debug)]
pub(crate) struct Membership {
    manager: String,
    name: String,
    token: Option<Token>,
    identity_path: PathBuf,
    join_path: PathBuf,
    identity: Arc<CurrentIdentity>,
    roots: TrustRoots,
    joined: Mutex<Joined>,
}

/// What the worker learnt when it joined: `join.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Joined {
    manager: String,
    origin_url: String,
    authority_pem: String,
    /// The authority's hash in the token, so that another manager's token is noticed.
    authority_sha256: [u8; 32],
}

impl Membership {
    /// The identity in the state directory, or a new one that the manager issues. Waits for the manager until
    /// `stop`.
    pub(crate) async fn obtain(
        options: &WorkerOptions,
        state: &StateDir,
        stop: &CancellationToken,
    ) -> Result<Self, WorkerError> {
        check_url(&options.manager)?;
        let earlier = load(state);
        let (identity, joined) =
            match earlier.clone().filter(|(identity, joined)| fits(identity, joined, options)) {
                Some(known) => known,
                None => {
                    let token = options.join_token.as_ref().ok_or(WorkerError::NoToken)?;
                    let earlier = earlier.filter(|(_, joined)| joined.authority_sha256 == token.ca_sha256);
                    let applicant = Applicant {
                        manager: &options.manager,
                        name: &options.name,
                        token,
                        earlier: earlier.map(|(identity, _)| identity),
                    };
                    let known =
                        stop.run_until_cancelled(applicant.join()).await.ok_or(WorkerError::Stopped)??;
                    save(&known, &state.identity(), &state.join())?;
                    known
                }
            };
        Ok(Self {
            manager: options.manager.clone(),
            name: options.name.clone(),
            token: options.join_token.clone(),
            identity_path: state.identity(),
            join_path: state.join(),
            identity: CurrentIdentity::new(identity)?,
            roots: TrustRoots::from_pem(&joined.authority_pem)?,
            joined: Mutex::new(joined),
        })
    }

    /// This VM's number.
    pub(crate) fn vm(&self) -> Result<VmId, WorkerError> {
        vm_of(&self.identity.get(), &self.manager)
    }

    /// The manager's address.
    pub(super) fn manager(&self) -> &str {
        &self.manager
    }

    /// The default origin.
    pub(crate) fn origin_url(&self) -> String {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner).origin_url.clone()
    }

    pub(crate) fn roots(&self) -> &TrustRoots {
        &self.roots
    }

    pub(crate) fn identity(&self) -> Arc<CurrentIdentity> {
        Arc::clone(&self.identity)
    }

    /// When to ask for a new certificate.
    pub(super) fn renew_at(&self) -> SystemTime {
        self.identity.get().renew_at()
    }

    /// A connection to the manager, as this worker.
    pub(super) async fn connect(&self) -> Result<WorkersClient<Channel>, WorkerError> {
        self.rejoin_if_expired().await?;
        let config = client_config(&self.roots, Some(self.identity()), ExpectedPeer::Manager, &[ALPN_H2])?;
        let channel = connect_grpc(&self.manager, Arc::new(config)).await?;
        Ok(WorkersClient::new(channel).max_decoding_message_size(ft_proto::MAX_MESSAGE_BYTES))
    }

    /// Gets a new certificate for the same key.
    pub(super) async fn renew(&self) -> Result<(), WorkerError> {
        let mut client = self.connect().await?;
        let current = self.identity.get();
        let request = v1::RenewRequest { csr_der: current.key().signing_request()? };
        let answer = in_time(&self.manager, client.renew(request)).await?;
        let chain = answer.certificate_chain_der.into_iter().map(CertificateDer::from).collect();
        let renewed = Identity::new(chain, current.key().clone())?;
        renewed.save(&self.identity_path)?;
        Ok(self.identity.replace(renewed)?)
    }

    /// An identity that expired while the manager was away is of no use for renewing it.
    async fn rejoin_if_expired(&self) -> Result<(), WorkerError> {
        let current = self.identity.get();
        if current.expires_at() > SystemTime::now() {
            return Ok(());
        }
        let token = self.token.as_ref().ok_or(WorkerError::NoToken)?;
        let applicant = Applicant { manager: &self.manager, name: &self.name, token, earlier: Some(current) };
        let known = applicant.try_join().await?;
        save(&known, &self.identity_path, &self.join_path)?;
        self.identity.replace(known.0)?;
        *self.joined.lock().unwrap_or_else(PoisonError::into_inner) = known.1;
        Ok(())
    }
}

/// A worker that wants to join.
struct Applicant<'a> {
    manager: &'a str,
    name: &'a str,
    token: &'a Token,
    /// Who it was before: it wants to be that again.
    earlier: Option<Identity>,
}

impl Applicant<'_> {
    /// Tries until the manager answers, one way or the other.
    async fn join(&self) -> Result<(Identity, Joined), WorkerError> {
        let mut backoff = Backoff::new();
        loop {
            match self.try_join().await {
                Err(error) if error.is_passing() => {
                    tracing::warn!(manager = self.manager, %error, "cannot join yet; trying again");
                    tokio::time::sleep(backoff.pause()).await;
                }
                other => return other,
            }
        }
    }

    async fn try_join(&self) -> Result<(Identity, Joined), WorkerError> {
        let key = match &self.earlier {
            Some(identity) => identity.key().clone(),
            None => PrivateKey::generate()?,
        };
        let vm = self.earlier.as_ref().and_then(|identity| identity.uri().vm());
        let mut request = Request::new(v1::JoinRequest {
            csr_der: key.signing_request()?,
            name: self.name.to_owned(),
            vm: vm.map(|number| VmId(number).to_string()).unwrap_or_default(),
        });
        let bearer = format!("Bearer {}", self.token).parse();
        let bearer = bearer.map_err(|_| WorkerError::NoToken)?;
        request.metadata_mut().insert("authorization", bearer);
        let config = client_config_pinned(self.token.ca_sha256, &[ALPN_H2])?;
        let mut client = WorkersClient::new(connect_grpc(self.manager, Arc::new(config)).await?);
        let answer = in_time(self.manager, client.join(request)).await?;
        let chain: Vec<_> = answer.certificate_chain_der.into_iter().map(CertificateDer::from).collect();
        let roots = TrustRoots::from_chain(&chain, &self.token.ca_sha256)?;
        let identity = Identity::new(chain, key)?;
        vm_of(&identity, self.manager)?;
        let joined = Joined {
            manager: self.manager.to_owned(),
            origin_url: answer.origin_url,
            authority_pem: roots.to_pem(),
            authority_sha256: self.token.ca_sha256,
        };
        Ok((identity, joined))
    }
}

/// What an earlier run left, if it is whole.
fn load(state: &StateDir) -> Option<(Identity, Joined)> {
    let identity = Identity::load(&state.identity()).ok()?;
    let joined = std::fs::read(state.join()).ok()?;
    match serde_json::from_slice(&joined) {
        Ok(joined) => Some((identity, joined)),
        Err(error) => {
            tracing::warn!(%error, path = %state.join().display(), "cannot read what was learnt at joining; joining anew");
            None
        }
    }
}

/// Whether an earlier identity still serves.
fn fits(identity: &Identity, joined: &Joined, options: &WorkerOptions) -> bool {
    let same_authority =
        options.join_token.as_ref().is_none_or(|token| token.ca_sha256 == joined.authority_sha256);
    joined.manager == options.manager && same_authority && identity.expires_at() > SystemTime::now()
}

/// The identity first: without `join.json`, the worker joins again, with the same key.
fn save(
    (identity, joined): &(Identity, Joined),
    to: &std::path::Path,
    join: &std::path::Path,
) -> Result<(), WorkerError> {
    identity.save(to)?;
    let json = serde_json::to_vec_pretty(joined).map_err(|error| WorkerError::State {
        action: "write",
        path: join.to_owned(),
        source: error.into(),
    })?;
    Ok(ft_identity::write_private(join, &json)?)
}

fn vm_of(identity: &Identity, manager: &str) -> Result<VmId, WorkerError> {
    identity.uri().vm().map(VmId).ok_or_else(|| WorkerError::Refused {
        manager: manager.to_owned(),
        cause: format!("the certificate it issued names {}, not a VM", identity.uri()),
    })
}

fn check_url(manager: &str) -> Result<(), WorkerError> {
    let cause = match manager.parse::<http::Uri>() {
        Ok(url) if url.scheme_str() == Some("https") && url.host().is_some() => return Ok(()),
        Ok(_) => "it does not start with https://".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(WorkerError::Manager { manager: manager.to_owned(), cause })
}

/// The manager's answer, within the deadline.
pub(super) async fn in_time<T>(
    manager: &str,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, WorkerError> {
    let late = || Err(tonic::Status::deadline_exceeded("no answer in time"));
    let answer = timeout(ANSWER_DEADLINE, call).await.unwrap_or_else(|_| late());
    answer.map(tonic::Response::into_inner).map_err(|status| refused(manager, &status))
}

/// A manager that cannot answer now is tried again; one that says no is believed.
fn refused(manager: &str, status: &tonic::Status) -> WorkerError {
    let cause = format!("{} ({:?})", status.message(), status.code());
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument | Code::FailedPrecondition => {
            WorkerError::Refused { manager: manager.to_owned(), cause }
        }
        _ => WorkerError::Unreachable { manager: manager.to_owned(), cause },
    }
}
