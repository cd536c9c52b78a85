//! Servers that misbehave: each connection gets the next answer of a script, byte by byte as written.

use std::sync::{Arc, Mutex};

use ft_core::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::oci::{RegistryClient, RegistryError, RegistryOptions};
use crate::{HttpOrigin, Origin, OriginError};

/// What a connection gets after its request was read.
#[derive(Clone, Copy)]
enum Answer {
    /// These bytes, then the connection is closed.
    Bytes(&'static str),
    /// These bytes, then nothing more.
    Stall(&'static str),
}

/// A server on loopback, and the heads of the requests it got.
struct Scripted {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    async fn start(script: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, seen) = (script.to_vec(), Arc::clone(&requests));
        tokio::spawn(async move {
            let mut silent = Vec::new();
            for answer in script {
                let (mut stream, _) = listener.accept().await.unwrap();
                let head = read_head(&mut stream).await;
                seen.lock().unwrap().push(head);
                let (Answer::Bytes(text) | Answer::Stall(text)) = answer;
                stream.write_all(text.as_bytes()).await.unwrap();
                if matches!(answer, Answer::Stall(_)) {
                    silent.push(stream);
                }
            }
            // Whoever comes next gets no answer.
            std::future::pending::<()>().await;
        });
        Self { url, requests }
    }

    fn origin(&self) -> HttpOrigin {
        HttpOrigin::new(&self.url, web_tls(&[]).unwrap(), limits()).unwrap()
    }

    fn registry(&self) -> RegistryClient {
        let reference = format!("{}/team/py:v1", self.url.trim_start_matches("http://")).parse().unwrap();
        let options = RegistryOptions { limits: limits(), ..RegistryOptions::default() };
        RegistryClient::new(&reference, &options).unwrap()
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

fn limits() -> TransferLimits {
    let retry = RetryPolicy { retries: 2, first_pause: Duration::from_millis(1), ..RetryPolicy::default() };
    let (connect, idle) = (Duration::from_millis(300), Duration::from_millis(200));
    TransferLimits { connect, idle, retry, ..TransferLimits::default() }
}

const PART: &str =
    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/100\r\nContent-Length: 10\r\n\r\n";
const BUSY: &str =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 8\r\nConnection: close\r\n\r\nno room\n";

/// Reads bytes 0 to 10 of an object from a server with this script.
async fn read(script: &[Answer]) -> (Result<Bytes, OriginError>, Vec<String>) {
    let server = Scripted::start(script).await;
    let read = server.origin().read(&Digest::of(b"pack"), 0..10).await;
    (read, server.requests())
}

#[tokio::test]
async fn transient_errors_are_met_by_trying_again() {
    let good = Answer::Bytes(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/100\r\nContent-Length: 10\r\n\r\n0123456789",
    );
    for bad in [Answer::Bytes(BUSY), Answer::Bytes(""), Answer::Stall("")] {
        let (read, requests) = read(&[bad, bad, good]).await;
        assert_eq!(read, Ok(Bytes::from_static(b"0123456789")));
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|head| head.contains("range: bytes=0-9\r\n")), "{requests:?}");
    }
}

#[tokio::test]
async fn a_broken_body_goes_on_where_it_broke() {
    let first = Answer::Bytes(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/100\r\nContent-Length: 10\r\n\r\n0123",
    );
    let rest = Answer::Bytes(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 4-9/100\r\nContent-Length: 6\r\n\r\n456789",
    );
    let (read, requests) = read(&[first, rest]).await;
    assert_eq!(read, Ok(Bytes::from_static(b"0123456789")));
    assert!(requests[1].contains("range: bytes=4-9\r\n"), "{requests:?}");
}

#[tokio::test]
async fn what_stays_broken_is_an_error_that_names_the_pack_and_the_range() {
    let object = Digest::of(b"pack").to_string();
    for (answer, requests, says) in [
        (Answer::Bytes(BUSY), 3, "503: no room"),
        (Answer::Stall(PART), 3, "stalled after 0 bytes"),
        (Answer::Bytes(PART), 3, "connection broke"),
        (Answer::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"), 1, "ignores byte ranges"),
        (
            Answer::Bytes(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-14/100\r\nContent-Length: 10\r\n\r\n",
            ),
            1,
            "bytes 5-14/100",
        ),
        (
            Answer::Bytes(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/100\r\nContent-Length: 11\r\n\r\n01234567890",
            ),
            1,
            "more than the expected 10",
        ),
        (
            Answer::Bytes(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/100\r\nContent-Length: 0\r\n\r\n",
            ),
            3,
            "truncated: 0 of 10",
        ),
        (Answer::Bytes("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), 1, "400"),
        (Answer::Bytes("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), 1, "no object"),
    ] {
        let (read, seen) = read(&[answer; 3]).await;
        let error = read.unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(&object), "{says:?} is not in {error:?}");
        assert!(says == "no object" || error.contains("bytes 0 to 10"), "{error}");
        assert_eq!(seen.len(), requests, "{says}");
    }
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up_in_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(PART.as_bytes()).await.unwrap();
        // Each byte in time, all together far too late. Ends when the client has hung up.
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(90)).await;
        }
    });
    let mut limits = limits();
    limits.retry.retries = 0;
    let origin = HttpOrigin::new(&url, web_tls(&[]).unwrap(), limits).unwrap();
    let error = origin.read(&Digest::of(b"pack"), 0..10).await.unwrap_err().to_string();
    assert!(error.contains("stalled after"), "{error}");
}

#[tokio::test]
async fn a_registry_that_is_busy_or_breaks_off_is_asked_again() {
    let busy =
        Answer::Bytes("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let broken = Answer::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{");
    let good = Answer::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
    let server = Scripted::start(&[busy, broken, good, busy, good]).await;
    let client = server.registry();
    assert_eq!(client.manifest("v1", &[]).await.unwrap().bytes, "{}");
    assert_eq!(client.blob_size(&Digest::of(b"x")).await, Ok(Some(2)));
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn bodies_without_an_end_are_cut_off() {
    let flood = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(5 << 20));
    let server = Scripted::start(&[Answer::Bytes(flood.leak())]).await;
    let error = server.registry().manifest("v1", &[]).await.unwrap_err();
    let cut = matches!(error, RegistryError::Transfer { cause: TransferError::TooLong { .. }, .. });
    assert!(cut, "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_pauses_grow_with_jitter_and_the_budget_ends_them() {
    let policy = RetryPolicy {
        retries: 10,
        first_pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(4),
        budget: Duration::from_secs(12),
    };
    let mut backoff = Backoff::new(policy);
    let started = Instant::now();
    let mut pauses = Vec::new();
    loop {
        let before = Instant::now();
        if backoff.wait_after(TransferError::Connect { cause: String::new() }).await.is_err() {
            break;
        }
        pauses.push(before.elapsed());
    }
    for (pause, longest) in pauses.iter().zip([1, 2, 4, 4, 4, 4, 4]) {
        let longest = Duration::from_secs(longest);
        assert!(*pause >= longest / 2 && *pause <= longest + Duration::from_millis(2), "{pauses:?}");
    }
    assert!(started.elapsed() >= Duration::from_secs(12) && started.elapsed() <= Duration::from_secs(17));
    assert_eq!(backoff.wait_after(TransferError::RangeIgnored).await, Err(TransferError::RangeIgnored));
}

#[test]
fn an_error_page_becomes_one_line() {
    let registry = br#"{"errors":[{"code":"DENIED","message":"not\nyours"},{"message":"go away"}]}"#;
    assert_eq!(error::excerpt(registry), "not yours; go away");
    assert_eq!(error::excerpt(b"<html>\n  <title>502</title>"), "<html> <title>502</title>");
    assert_eq!(error::excerpt(b"\x1b[31m\xff").chars().next(), Some('['));
    assert_eq!(error::excerpt(&[b'x'; 1000]).len(), 200);
}
