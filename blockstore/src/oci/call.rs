//! One request to a registry: it is repeated, authorised, and its failure says what it was for.

use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode};

use super::RegistryError;
use super::auth::Access;
use super::challenge::Challenge;
use super::client::RegistryClient;
use crate::transfer::{self, Backoff, TransferError, is_transient_status, status_error};

/// What a request is for.
pub(super) struct Call<'a> {
    pub(super) access: Access,
    /// For messages.
    pub(super) what: &'a str,
    /// For the request to go out and the answer to begin.
    pub(super) deadline: Duration,
}

impl Call<'_> {
    pub(super) fn failed(&self, cause: TransferError) -> RegistryError {
        RegistryError::Transfer { what: self.what.to_owned(), cause }
    }

    pub(super) fn not_understood(&self, reason: &str) -> RegistryError {
        RegistryError::Protocol { what: self.what.to_owned(), reason: reason.to_owned() }
    }
}

impl RegistryClient {
    /// Sends an idempotent request, again if it fails transiently.
    pub(super) async fn send_retrying(
        &self,
        call: &Call<'_>,
        build: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let limits = &self.endpoint.limits;
        let mut backoff = Backoff::new(limits.retry.clone());
        loop {
            let error = match self.send(call, &build).await {
                Ok(answer) if is_transient_status(answer.status().as_u16()) => {
                    call.failed(status_error(answer, limits).await)
                }
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            backoff.wait_after(error).await?;
        }
    }

    /// Sends a request, and if the registry asks who we are, once more with the answer.
    pub(super) async fn send(
        &self,
        call: &Call<'_>,
        build: impl Fn(&reqwest::Client) -> RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let endpoint = &self.endpoint;
        let (number, known) = self.auth.known(call.access).await;
        let request = build(&endpoint.http);
        let request = match known {
            Some(answer) => answer.apply(request),
            None => request,
        };
        let response = transfer::send(request, call.deadline).await.map_err(|cause| call.failed(cause))?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(challenge) = Challenge::of(response.headers()) else {
            return Err(self.auth.unauthorized(endpoint, call.access));
        };
        let answer = self.auth.answer(endpoint, call.access, challenge, number).await?;
        let request = answer.apply(build(&endpoint.http));
        let response = transfer::send(request, call.deadline).await.map_err(|cause| call.failed(cause))?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(self.auth.unauthorized(endpoint, call.access)),
            _ => Ok(response),
        }
    }

    /// Gives the answer back if it has the `expected` status.
    pub(super) async fn expect(
        &self,
        response: Response,
        expected: StatusCode,
        call: &Call<'_>,
    ) -> Result<Response, RegistryError> {
        match response.status() {
            status if status == expected => Ok(response),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound { what: call.what.to_owned() }),
            StatusCode::FORBIDDEN => Err(self.auth.unauthorized(&self.endpoint, call.access)),
            _ => Err(call.failed(status_error(response, &self.endpoint.limits).await)),
        }
    }

    /// A short request.
    pub(super) fn call<'a>(&self, access: Access, what: &'a str) -> Call<'a> {
        let limits = &self.endpoint.limits;
        Call { access, what, deadline: limits.connect + limits.idle }
    }
}
