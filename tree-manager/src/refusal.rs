//! Why a call is refused, and the gRPC status that says so.

use ft_core::VmId;
use tonic::{Code, Status};

use crate::ids::ContainerId;
use crate::state::StateError;

/// Why a call is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Invalid(String),
    #[error("there is no function {0}; `ft function ls` lists them")]
    NoFunction(String),
    #[error("there is no container {0}; `ft ps` lists them")]
    NoContainer(ContainerId),
    #[error("there is no VM {0}; `ft vm ls` lists them")]
    NoVm(VmId),
    #[error("{vm} runs no container with the image {image}")]
    NoImage { vm: VmId, image: String },
    #[error("{containers} containers use {function}; stop them first: ft reclaim {function}")]
    InUse { function: String, containers: u32 },
    #[error("no VM can take a container: {0}")]
    NoCapacity(String),
    #[error("the idempotency key {0:?} was used for another call")]
    KeyReused(String),
    #[error("{container} is {state}: nothing can be run in it")]
    NotRunning { container: ContainerId, state: &'static str },
    #[error("{0} is not connected at the moment; try again")]
    Disconnected(VmId),
    #[error("{0} has too many commands waiting; try again")]
    Busy(VmId),
    #[error("no result within {0:?}")]
    Late(std::time::Duration),
    #[error("{0}")]
    CommandFailed(String),
    #[error("not allowed: {0}")]
    NotAllowed(String),
    #[error("who are you? {0}")]
    Unauthenticated(&'static str),
    #[error("the manager is shutting down")]
    ShuttingDown,
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Identity(#[from] ft_identity::Error),
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NoFunction(_) | Self::NoContainer(_) | Self::NoVm(_) | Self::NoImage { .. } => {
                Code::NotFound
            }
            Self::InUse { .. } | Self::KeyReused(_) | Self::NotRunning { .. } => Code::FailedPrecondition,
            Self::NoCapacity(_) | Self::Busy(_) => Code::ResourceExhausted,
            Self::Disconnected(_) | Self::ShuttingDown | Self::State(StateError::Closed) => Code::Unavailable,
            Self::Late(_) => Code::DeadlineExceeded,
            Self::CommandFailed(_) => Code::Aborted,
            Self::NotAllowed(_) => Code::PermissionDenied,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Identity(ft_identity::Error::BadRequest(_) | ft_identity::Error::BadName { .. }) => {
                Code::InvalidArgument
            }
            Self::State(_) | Self::Identity(_) => Code::Internal,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        if refusal.code() == Code::Internal {
            tracing::error!(error = %refusal, "a call failed");
        }
        Self::new(refusal.code(), refusal.to_string())
    }
}

impl From<crate::ids::ParseFunctionRefError> for Refusal {
    fn from(error: crate::ids::ParseFunctionRefError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// Parses an argument of a call; `what` says which.
pub(crate) fn argument<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Refusal>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| Refusal::Invalid(format!("{what} {:?}: {error}", crate::ids::shorten(text))))
}
