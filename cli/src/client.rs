//! The manager's clients, with the credential of this host or the one named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ft_identity::{
    ALPN_H2, CurrentIdentity, ExpectedPeer, Identity, TrustRoots, client_config, connect_grpc,
};
use ft_proto::MAX_MESSAGE_BYTES;
use ft_proto::v1::functions_client::FunctionsClient;
use ft_proto::v1::pool_client::PoolClient;
use ft_proto::v1::scheduler_client::SchedulerClient;
use serde::Deserialize;
use tonic::transport::Channel;

use crate::args::Global;
use crate::failure::{Failure, Kind};
use crate::paths;

/// What a manager writes to `admin.json`: where it is and how to prove who one is.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Credential {
    /// The manager's URL.
    pub manager: String,
    /// The URL of the origin beside it.
    pub origin: String,
    ca_pem: String,
    certificate_pem: String,
    key_pem: String,
}

impl Credential {
    /// The credential that the user named, or the one of the manager on this host.
    pub(crate) fn find(global: &Global) -> Result<Self, Failure> {
        match &global.credential {
            Some(path) => Self::load(path),
            None => Self::load(&default_path()).map_err(|failure| {
                failure.next(
                    "start a manager here with `ft manager`, or name the credential that one wrote: --credential admin.json",
                )
            }),
        }
    }

    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let text = std::fs::read(path).map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                std::io::ErrorKind::PermissionDenied => Kind::NotAllowed,
                _ => Kind::Failed,
            };
            Failure::new(kind, error).context(format!("cannot read the credential {shown}"))
        })?;
        serde_json::from_slice(&text)
            .map_err(|error| Failure::new(Kind::Failed, error).context(format!("{shown} is no credential")))
    }

    pub(crate) fn roots(&self) -> Result<TrustRoots, Failure> {
        TrustRoots::from_pem(&self.ca_pem).map_err(invalid)
    }

    pub(crate) fn identity(&self) -> Result<Arc<CurrentIdentity>, Failure> {
        let identity = Identity::from_pem(&format!("{}{}", self.key_pem, self.certificate_pem));
        identity.and_then(CurrentIdentity::new).map_err(invalid)
    }
}

fn invalid(error: ft_identity::Error) -> Failure {
    Failure::new(Kind::NotAllowed, error).context("the credential cannot be used")
}

fn default_path() -> PathBuf {
    paths::state_dir("manager").join("admin.json")
}

/// A connection to the manager.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    channel: Channel,
    credential: Credential,
}

impl Client {
    /// Connects with the credential that the user named, or this host's.
    pub(crate) async fn connect(global: &Global) -> Result<Self, Failure> {
        Self::with(Credential::find(global)?).await
    }

    /// Connects with this credential.
    pub(crate) async fn with(credential: Credential) -> Result<Self, Failure> {
        let config = client_config(
            &credential.roots()?,
            Some(credential.identity()?),
            ExpectedPeer::Manager,
            &[ALPN_H2],
        )
        .map_err(invalid)?;
        let channel = connect_grpc(&credential.manager, Arc::new(config)).await.map_err(|error| {
            Failure::new(Kind::Unreachable, error)
                .next("is the manager running? `ft manager` starts one; `ft doctor` checks this host")
        })?;
        Ok(Self { channel, credential })
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    pub(crate) fn scheduler(&self) -> SchedulerClient<Channel> {
        SchedulerClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn functions(&self) -> FunctionsClient<Channel> {
        FunctionsClient::new(self.channel.clone())
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) fn pool(&self) -> PoolClient<Channel> {
        PoolClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}
