//! Logging in with tokens. Debian's docker-registry can ask for them but not issue them, so the two servers of
//! these tests follow the specifications by hand.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use ft_core::Digest;
use tokio::net::TcpListener;

use super::*;
use crate::BlobSource;

/// `user:secret` in base64.
const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

#[derive(Default)]
struct Seen {
    /// What the token server was asked: the `Authorization` and the query or form.
    token_requests: Vec<(String, String)>,
    /// The `Authorization` that each request to the registry had.
    registry_requests: Vec<String>,
    /// The `Authorization` that the storage behind the registry got.
    storage_requests: Vec<String>,
}

struct Fake {
    host: String,
    storage: String,
    /// Seconds that tokens are good for.
    lifetime: u64,
    seen: Mutex<Seen>,
}

fn authorization(headers: &HeaderMap) -> String {
    headers.get(header::AUTHORIZATION).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

async fn token(
    State(fake): State<Arc<Fake>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    form: String,
) -> Response {
    let authorization = authorization(&headers);
    let asked = query.unwrap_or(form);
    let accepted = asked.contains("scope=repository%3Ateam%2Fpy%3Apull")
        && asked.contains("service=the+registry")
        && (authorization == BASIC || asked.contains("refresh_token=identity"));
    let mut seen = fake.seen.lock().unwrap();
    seen.token_requests.push((authorization, asked));
    match accepted {
        true => format!(
            r#"{{"access_token": "token-{}", "expires_in": {}}}"#,
            seen.token_requests.len(),
            fake.lifetime
        )
        .into_response(),
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn registry(
    State(fake): State<Arc<Fake>>,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Response {
    let authorization = authorization(&headers);
    fake.seen.lock().unwrap().registry_requests.push(authorization.clone());
    if !authorization.starts_with("Bearer token-") {
        let challenge =
            format!(r#"Bearer realm="http://{}/token",service="the registry",scope="ignored""#, fake.host);
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response();
    }
    match request.method().as_str() {
        "HEAD" => StatusCode::NOT_FOUND.into_response(),
        "POST" => {
            let location = format!("http://{}/store?signed=1", fake.storage);
            (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response()
        }
        _ => "{}".into_response(),
    }
}

async fn storage(State(fake): State<Arc<Fake>>, headers: HeaderMap, _body: Bytes) -> StatusCode {
    fake.seen.lock().unwrap().storage_requests.push(authorization(&headers));
    StatusCode::CREATED
}

async fn start(lifetime: u64) -> Arc<Fake> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let behind = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let fake = Arc::new(Fake {
        host: listener.local_addr().unwrap().to_string(),
        storage: behind.local_addr().unwrap().to_string(),
        lifetime,
        seen: Mutex::default(),
    });
    let router = Router::new()
        .route("/token", get(token).post(token))
        .route("/v2/{*path}", any(registry))
        .with_state(Arc::clone(&fake));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let router = Router::new().route("/store", any(storage)).with_state(Arc::clone(&fake));
    tokio::spawn(async move { axum::serve(behind, router).await });
    fake
}

/// A client whose docker configuration has this entry for the registry.
fn client(fake: &Fake, entry: &str) -> (tempfile::NamedTempFile, RegistryClient) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!(r#"{{"auths": {{"{}": {entry}}}}}"#, fake.host)).unwrap();
    let options =
        RegistryOptions { docker_config: Some(file.path().to_owned()), ..RegistryOptions::default() };
    let reference = format!("{}/team/py:v1", fake.host).parse().unwrap();
    let client = RegistryClient::new(&reference, &options).unwrap();
    (file, client)
}

const PASSWORD: &str = r#"{"auth": "dXNlcjpzZWNyZXQ="}"#;

#[tokio::test]
async fn a_token_is_fetched_with_the_password_once_and_used_again() {
    let fake = start(3600).await;
    let (_config, client) = client(&fake, PASSWORD);
    let manifests = (0..6).map(|_| client.manifest("v1", &[]));
    for manifest in futures_util::future::join_all(manifests).await {
        assert_eq!(manifest.unwrap().digest, Digest::of(b"{}"));
    }
    client.manifest("v1", &[]).await.unwrap();
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen.token_requests.len(), 1, "{:?}", seen.token_requests);
    assert_eq!(seen.token_requests[0].0, BASIC);
    assert_eq!(seen.registry_requests.last().unwrap(), "Bearer token-1");
    assert!(
        seen.registry_requests.iter().all(|sent| !sent.starts_with("Basic")),
        "the password is not for it"
    );
}

#[tokio::test]
async fn an_expired_token_is_replaced() {
    // Shorter than the margin before its end, so each request needs a new one.
    let fake = start(1).await;
    let (_config, client) = client(&fake, PASSWORD);
    client.manifest("v1", &[]).await.unwrap();
    client.manifest("v1", &[]).await.unwrap();
    assert_eq!(fake.seen.lock().unwrap().token_requests.len(), 2);
}

#[tokio::test]
async fn an_identity_token_goes_to_the_token_server_in_a_form() {
    let fake = start(3600).await;
    let (_config, client) = client(&fake, r#"{"auth": "dXNlcjo=", "identitytoken": "identity"}"#);
    client.manifest("v1", &[]).await.unwrap();
    let seen = fake.seen.lock().unwrap();
    let (authorization, form) = &seen.token_requests[0];
    assert_eq!(authorization, "");
    assert!(form.contains("grant_type=refresh_token") && form.contains("client_id="), "{form}");
}

#[tokio::test]
async fn refused_credentials_are_an_error_that_names_them() {
    let fake = start(3600).await;
    for (entry, says) in [
        (r#"{"username": "eve", "password": "guess"}"#, "password of user eve"),
        (r#"{"identitytoken": "stale"}"#, "refused the identity token"),
        (r"{}", "no credentials are configured"),
    ] {
        let (config, client) = client(&fake, entry);
        let error = client.manifest("v1", &[]).await.unwrap_err().to_string();
        for part in [says, &fake.host, "pull from team/py", config.path().to_str().unwrap()] {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
        assert!(!error.contains("guess") && !error.contains("stale"), "secrets stay secret: {error}");
    }
}

#[tokio::test]
async fn storage_on_another_host_never_sees_our_credentials() {
    let fake = start(3600).await;
    let (_config, client) = client(&fake, PASSWORD);
    let data = Bytes::from_static(b"data");
    client.push_blob(&Digest::of(&data), &BlobSource::Bytes(data)).await.unwrap();
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen.storage_requests, [""]);
    let (_, scope) = seen.token_requests.last().unwrap();
    assert!(scope.contains("pull%2Cpush"), "{scope}");
}
