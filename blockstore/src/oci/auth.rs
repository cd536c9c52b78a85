//! Answering a registry's challenge, and remembering the answer.

use std::time::{Duration, Instant};

use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};

use super::RegistryError;
use super::challenge::Challenge;
use super::client::Endpoint;
use super::credentials::{self, Credentials};
use crate::transfer::{body_within, send, status_error};

/// The most bytes of a token server's answer.
const MAX_TOKEN_BYTES: usize = 256 << 10;
/// How long a token is good for if its server does not say (the specification's value).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// A token is renewed this long before it ends, for requests on their way.
const MARGIN: Duration = Duration::from_secs(5);

/// What a request wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
}

impl Access {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Pull => "pull from",
            Self::Push => "push to",
        }
    }

    fn actions(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "pull,push",
        }
    }
}

/// An answer to a challenge.
#[derive(Clone)]
pub(super) enum Authorization {
    Basic { user: String, password: String },
    Bearer { token: String, until: Instant },
}

impl Authorization {
    pub(super) fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Basic { user, password } => request.basic_auth(user, Some(password)),
            Self::Bearer { token, .. } => request.bearer_auth(token),
        }
    }

    fn is_fresh(&self) -> bool {
        match self {
            Self::Basic { .. } => true,
            Self::Bearer { until, .. } => Instant::now() < *until,
        }
    }
}

/// The answers that one repository accepted.
#[derive(Default)]
pub(super) struct Authorizer {
    credentials: OnceCell<Credentials>,
    /// For pulling and for pushing, each with the number of answers so far.
    answers: [Mutex<(u64, Option<Authorization>)>; 2],
}

impl Authorizer {
    /// The answer known for `access`, if any, and its number.
    pub(super) async fn known(&self, access: Access) -> (u64, Option<Authorization>) {
        let answer = self.answers[access as usize].lock().await;
        (answer.0, answer.1.clone().filter(Authorization::is_fresh))
    }

    /// Answers `challenge`. `refused` is the number of the answer that was not accepted: if another request
    /// has got a newer one meanwhile, that one is used.
    pub(super) async fn answer(
        &self,
        endpoint: &Endpoint,
        access: Access,
        challenge: Challenge,
        refused: u64,
    ) -> Result<Authorization, RegistryError> {
        let mut known = self.answers[access as usize].lock().await;
        if let (number, Some(answer)) = &*known
            && *number > refused
            && answer.is_fresh()
        {
            return Ok(answer.clone());
        }
        let credentials = self.credentials(endpoint).await?;
        let answer = match (challenge, credentials) {
            (Challenge::Basic, Credentials::Password { user, password }) => {
                Authorization::Basic { user: user.clone(), password: password.clone() }
            }
            (Challenge::Basic, _) => return Err(self.unauthorized(endpoint, access)),
            (Challenge::Bearer { realm, service }, credentials) => {
                let request = TokenRequest { endpoint, access, realm, service };
                match request.send(credentials).await? {
                    Some(token) => token,
                    None => return Err(self.unauthorized(endpoint, access)),
                }
            }
        };
        *known = (known.0 + 1, Some(answer.clone()));
        Ok(answer)
    }

    async fn credentials(&self, endpoint: &Endpoint) -> Result<&Credentials, RegistryError> {
        let look_up = || credentials::look_up(&endpoint.registry, &endpoint.docker_config);
        self.credentials.get_or_try_init(look_up).await
    }

    /// The registry said no.
    pub(super) fn unauthorized(&self, endpoint: &Endpoint, access: Access) -> RegistryError {
        let used = match self.credentials.get() {
            Some(credentials) => credentials.describe(),
            None => "it asks for no credentials that we know how to give".to_owned(),
        };
        RegistryError::Unauthorized {
            registry: endpoint.registry.clone(),
            action: access.verb(),
            repository: endpoint.repository.clone(),
            reason: format!("{used} (looked in {})", endpoint.docker_config.display()),
        }
    }
}

/// A request for a bearer token: <https://distribution.github.io/distribution/spec/auth/token/>, and for
/// identity tokens <https://distribution.github.io/distribution/spec/auth/oauth/>.
struct TokenRequest<'a> {
    endpoint: &'a Endpoint,
    access: Access,
    realm: String,
    service: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl TokenRequest<'_> {
    /// The token, or `None` if the credentials are refused.
    async fn send(&self, credentials: &Credentials) -> Result<Option<Authorization>, RegistryError> {
        let what = format!("a token for {} from {}", self.endpoint.repository, self.realm);
        let failed = |cause| RegistryError::Transfer { what: what.clone(), cause };
        let garbled = |reason: String| RegistryError::Protocol { what: what.clone(), reason };
        let limits = &self.endpoint.limits;
        let asked = Instant::now();
        let deadline = limits.connect + limits.idle;
        let response = send(self.request(credentials)?, deadline).await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(None),
            // OAuth2's answer to a refresh token that is no longer good.
            StatusCode::BAD_REQUEST if matches!(credentials, Credentials::IdentityToken(_)) => {
                return Ok(None);
            }
            _ => return Err(failed(status_error(response, limits).await)),
        }
        let body = body_within(response, MAX_TOKEN_BYTES, limits).await.map_err(failed)?;
        // serde_json's messages do not quote the token.
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| garbled("it is no token in JSON".to_owned()))?;
        let token =
            answer.token.or(answer.access_token).ok_or_else(|| garbled("it holds no token".to_owned()))?;
        let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
        let until = asked + lifetime.min(Duration::from_secs(24 * 3600)).saturating_sub(MARGIN);
        Ok(Some(Authorization::Bearer { token, until }))
    }

    fn request(&self, credentials: &Credentials) -> Result<RequestBuilder, RegistryError> {
        let mut url = self.realm()?;
        let scope = format!("repository:{}:{}", self.endpoint.repository, self.access.actions());
        let mut pairs = vec![("scope", scope.as_str())];
        pairs.extend(self.service.as_deref().map(|service| ("service", service)));
        let http = &self.endpoint.http;
        Ok(match credentials {
            Credentials::IdentityToken(token) => {
                pairs.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "function-trees"),
                    ("refresh_token", token),
                ]);
                let mut form = url.clone();
                form.query_pairs_mut().clear().extend_pairs(pairs);
                http.post(url)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(form.query().unwrap_or_default().to_owned())
            }
            Credentials::Password { user, password } => {
                url.query_pairs_mut().extend_pairs(pairs);
                http.get(url).basic_auth(user, Some(password))
            }
            Credentials::Anonymous => {
                url.query_pairs_mut().extend_pairs(pairs);
                http.get(url)
            }
        })
    }

    /// The token server's address. Credentials go there, so it may not be less protected than the registry.
    fn realm(&self) -> Result<Url, RegistryError> {
        let garbled = |reason: &str| RegistryError::Protocol {
            what: format!("login to {}", self.endpoint.registry),
            reason: format!("{reason} ({})", self.realm),
        };
        let url = Url::parse(&self.realm).map_err(|_| garbled("its token server is no URL"))?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.endpoint.base.scheme() == "http" => Ok(url),
            _ => Err(garbled("its token server is not on HTTPS")),
        }
    }
}
