//! The origin server: who may do what, ranges, limits, and its end.

use std::time::Duration;

use bytes::Bytes;
use ft_blockstore::server::ServerLimits;
use ft_blockstore::{BlobSource, DirOrigin, Origin, OriginError, TransferError};
use ft_core::Digest;
use ft_identity::Role;
use reqwest::{Method, StatusCode, Version};

use crate::served::Served;
use crate::tools::{Sample, noise};

/// A plain HTTP client with the certificate of this role.
fn client(served: &Served, role: Option<Role>) -> reqwest::Client {
    let builder = reqwest::Client::builder().tls_backend_preconfigured(served.tls(role)).no_proxy();
    builder.build().unwrap()
}

async fn with_object(limits: ServerLimits) -> (tempfile::TempDir, Served, String, Bytes) {
    let dir = tempfile::tempdir().unwrap();
    let data = noise(1, 1 << 20);
    let object = Digest::of(&data);
    let origin = DirOrigin::open(dir.path()).unwrap();
    origin.put(&object, BlobSource::Bytes(data.clone())).await.unwrap();
    let served = Served::start(dir.path(), limits).await;
    let url = format!("{}/blobs/sha256/{}", served.url, object.hex());
    (dir, served, url, data)
}

#[tokio::test]
async fn ranges_are_answered_as_http_wants_it() {
    let (_dir, served, url, data) = with_object(ServerLimits::default()).await;
    let client = client(&served, Some(Role::Vm(1)));
    for (range, status, content_range, body) in [
        ("", 200, "", &data[..]),
        ("bytes=10-19", 206, "bytes 10-19/1048576", &data[10..20]),
        ("bytes=-5", 206, "bytes 1048571-1048575/1048576", &data[(1 << 20) - 5..]),
        ("bytes=1048570-9999999", 206, "bytes 1048570-1048575/1048576", &data[1_048_570..]),
        ("bytes=1048576-", 416, "bytes */1048576", &[]),
        ("bytes=0-1,5-6", 200, "", &data[..]),
    ] {
        let answer = client.get(&url).header("range", range).send().await.unwrap();
        let got =
            answer.headers().get("content-range").map_or("", |value| value.to_str().unwrap()).to_owned();
        assert_eq!((answer.status().as_u16(), got.as_str()), (status, content_range), "{range}");
        assert_eq!(answer.content_length(), Some(body.len() as u64), "{range}");
        assert!(answer.bytes().await.unwrap() == body, "{range} differs");
    }
    let head = client.head(&url).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "1048576");
    assert_eq!(head.headers()["accept-ranges"], "bytes");
    assert_eq!(served.counters.get().bytes_served, 2 * (1 << 20) + 10 + 5 + 6);
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let (_dir, served, url, data) = with_object(ServerLimits::default()).await;
    let newer = client(&served, Some(Role::Vm(1)));
    let mut tls = served.tls(Some(Role::Vm(2)));
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let older = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap();
    for (client, version) in [(newer, Version::HTTP_2), (older, Version::HTTP_11)] {
        // Twice, over the same connection.
        for _ in 0..2 {
            let answer = client.get(&url).send().await.unwrap();
            assert_eq!(answer.version(), version);
            assert!(answer.bytes().await.unwrap() == data, "the object differs");
        }
    }
}

#[tokio::test]
async fn vms_read_users_write_and_strangers_get_nothing() {
    let (_dir, served, url, _) = with_object(ServerLimits::default()).await;
    let fresh = Bytes::from_static(b"fresh");
    let fresh_url = format!("{}/blobs/sha256/{}", served.url, Digest::of(&fresh).hex());
    let name_url = format!("{}/refs/py", served.url);
    let vm = client(&served, Some(Role::Vm(1)));
    for (method, url) in [(Method::PUT, &fresh_url), (Method::PUT, &name_url), (Method::DELETE, &url)] {
        let answer = vm.request(method, url).body(fresh.clone()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{url}");
        assert!(answer.text().await.unwrap().contains("spiffe://test/vm/1 may not"));
    }
    assert_eq!(vm.get(&fresh_url).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(served.counters.get().refused, 3);
    for role in [Role::Manager, Role::Admin("ann".to_owned()), Role::Tenant("acme".to_owned())] {
        let user = client(&served, Some(role));
        let answer = user.put(&fresh_url).body(fresh.clone()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(user.delete(&fresh_url).send().await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    assert!(client(&served, None).get(&url).send().await.is_err(), "a client without a certificate");
    let other_dir = tempfile::tempdir().unwrap();
    let other = Served::start(other_dir.path(), ServerLimits::default()).await;
    let foreign = client(&other, Some(Role::Admin("eve".to_owned())));
    assert!(foreign.get(&url).send().await.is_err(), "a certificate of another authority");
}

#[tokio::test]
async fn what_is_put_wrongly_is_refused_with_the_reason() {
    let limits = ServerLimits { object_bytes: 1000, ..ServerLimits::default() };
    let (dir, served, _, _) = with_object(limits).await;
    let user = client(&served, Some(Role::Admin("ann".to_owned())));
    let object = Digest::of(b"right");
    let blob = format!("{}/blobs/sha256/{}", served.url, object.hex());
    let image = Sample::new(1, 1).objects();
    for (url, body, status, reason) in [
        (&blob, "wrong".to_owned(), 400, "they hash to"),
        (&blob, "x".repeat(1001), 413, "limit of 1000"),
        (&format!("{}/blobs/sha256/ABC", served.url), "x".to_owned(), 400, "64 lower-case"),
        (&format!("{}/refs/py", served.url), "{}".to_owned(), 400, "missing field"),
        (&format!("{}/refs/.x", served.url), "{}".to_owned(), 400, "no name"),
    ] {
        let answer = user.put(url).body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{url}");
        let text = answer.text().await.unwrap();
        assert!(text.contains(reason), "{text}");
    }
    assert!(!DirOrigin::open(dir.path()).unwrap().object_path(&object).exists());
    let origin = served.origin(Role::Admin("ann".to_owned()));
    let early = origin.publish(&"py".parse().unwrap(), &image).await;
    assert!(
        matches!(&early, Err(OriginError::Request { cause: TransferError::Status { status: 409, said }, .. })
            if said.contains("no object")),
        "{early:?}"
    );
}

/// An upload that stops half-way leaves nothing behind.
#[tokio::test]
async fn a_broken_upload_leaves_nothing() {
    let (dir, served, _, _) = with_object(ServerLimits::default()).await;
    let data = noise(2, 1 << 20);
    let url = format!("{}/blobs/sha256/{}", served.url, Digest::of(&data).hex());
    let half = data.slice(..1 << 19);
    let broken = futures_util::stream::iter([Ok(half), Err(std::io::Error::other("the client dies"))]);
    let user = client(&served, Some(Role::Admin("ann".to_owned())));
    let request =
        user.put(&url).header("content-length", data.len()).body(reqwest::Body::wrap_stream(broken));
    assert!(request.send().await.is_err());
    served.stop().await;
    assert!(!DirOrigin::open(dir.path()).unwrap().object_path(&Digest::of(&data)).exists());
    assert_eq!(std::fs::read_dir(dir.path().join(".ft/tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_request_under_way_is_finished_at_the_end() {
    let (_dir, served, url, data) = with_object(ServerLimits::default()).await;
    let answer = client(&served, Some(Role::Vm(1))).get(&url).send().await.unwrap();
    let body = tokio::spawn(answer.bytes());
    served.stop().await;
    assert!(body.await.unwrap().unwrap() == data, "the object differs");
}

#[tokio::test]
async fn a_client_that_reads_nothing_does_not_hold_the_server_up() {
    let limits = ServerLimits { shutdown: Duration::from_millis(200), ..ServerLimits::default() };
    let dir = tempfile::tempdir().unwrap();
    let data = noise(1, 8 << 20);
    let origin = DirOrigin::open(dir.path()).unwrap();
    origin.put(&Digest::of(&data), BlobSource::Bytes(data.clone())).await.unwrap();
    let served = Served::start(dir.path(), limits).await;
    let url = format!("{}/blobs/sha256/{}", served.url, Digest::of(&data).hex());
    let _unread = client(&served, Some(Role::Vm(1))).get(&url).send().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), served.stop()).await.expect("it stops all the same");
}
