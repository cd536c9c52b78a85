//! Real sockets: who gets in, who does not, and what the other side is told.

#![cfg(test)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ft_identity::{
    AcceptLimits, CertificateAuthority, ClientAuth, CurrentIdentity, ExpectedPeer, GrpcConnector, Identity,
    PrivateKey, Role, SigningRequest, SpiffeUri, TlsIncoming, Token, TrustRoots, client_config,
    client_config_pinned, peer_uri, server_config,
};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::Service as _;

const ALPN: &[&[u8]] = &[b"test"];
const HOUR: Duration = Duration::from_secs(3600);

/// A trust domain with a server that tells every client who it is, and echoes one byte.
struct Domain {
    authority: CertificateAuthority,
    roots: TrustRoots,
}

impl Domain {
    fn new(name: &str) -> Self {
        let authority = CertificateAuthority::generate(name).unwrap();
        let roots = authority.trust_roots().unwrap();
        Self { authority, roots }
    }

    fn identity(&self, role: Role) -> Arc<CurrentIdentity> {
        CurrentIdentity::new(self.authority.issue_identity(role, &[], HOUR).unwrap()).unwrap()
    }

    async fn serve(&self, identity: Arc<CurrentIdentity>, auth: ClientAuth) -> SocketAddr {
        let config = Arc::new(server_config(&self.roots, identity, auth, ALPN).unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = TlsIncoming::new(listener, config, AcceptLimits::default());
        tokio::spawn(async move {
            while let Some(mut stream) = incoming.next().await {
                tokio::spawn(async move {
                    let who =
                        stream.peer().uri.as_ref().map_or_else(|| "nobody".to_owned(), SpiffeUri::to_string);
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        stream.write_all(format!("{who}\n").as_bytes()).await.unwrap();
                    }
                });
            }
        });
        address
    }

    fn client(&self, identity: Option<Arc<CurrentIdentity>>, expect: ExpectedPeer) -> ClientConfig {
        client_config(&self.roots, identity, expect, ALPN).unwrap()
    }
}

type Stream = hyper_util::rt::TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;

async fn connect(address: SocketAddr, config: ClientConfig) -> std::io::Result<Stream> {
    GrpcConnector::new(Arc::new(config)).call(format!("https://{address}").parse().unwrap()).await
}

/// Who the server says that we are. A refusal of our certificate shows here in TLS 1.3, not in `connect`.
async fn ask(stream: &mut Stream) -> std::io::Result<String> {
    let stream = stream.inner_mut();
    stream.write_all(b"?").await?;
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(String::from_utf8(line).unwrap()),
            byte => line.push(byte),
        }
    }
}

async fn whoami(address: SocketAddr, config: ClientConfig) -> std::io::Result<String> {
    ask(&mut connect(address, config).await?).await
}

fn assert_refused(result: std::io::Result<String>, reason: &str) {
    let error = result.expect_err("the connection was accepted").to_string();
    assert!(error.contains(reason), "{error:?} does not say {reason:?}");
}

#[tokio::test]
async fn both_sides_know_each_other() {
    let domain = Domain::new("ft.test");
    let address = domain.serve(domain.identity(Role::Vm(7)), ClientAuth::Required).await;
    for expect in [ExpectedPeer::Vm(7), ExpectedPeer::AnyVm] {
        let client = domain.client(Some(domain.identity(Role::Vm(8))), expect);
        assert_eq!(whoami(address, client).await.unwrap(), "spiffe://ft.test/vm/8");
    }
}

#[tokio::test]
async fn a_server_with_another_name_is_refused() {
    let domain = Domain::new("ft.test");
    let address = domain.serve(domain.identity(Role::Vm(7)), ClientAuth::Optional).await;
    for expect in [ExpectedPeer::Vm(8), ExpectedPeer::Manager] {
        assert_refused(whoami(address, domain.client(None, expect)).await, "vm/7");
    }
}

#[tokio::test]
async fn another_authority_is_refused_by_both_sides() {
    let (ours, theirs) = (Domain::new("ft.test"), Domain::new("ft.test"));
    let address = ours.serve(ours.identity(Role::Manager), ClientAuth::Required).await;
    let stranger = theirs.client(Some(theirs.identity(Role::Vm(1))), ExpectedPeer::Manager);
    assert_refused(whoami(address, stranger).await, "invalid peer certificate");
    let forger = ours.client(Some(theirs.identity(Role::Vm(1))), ExpectedPeer::Manager);
    assert_refused(whoami(address, forger).await, "received fatal alert");
}

#[tokio::test]
async fn a_client_cannot_pose_as_a_server() {
    let domain = Domain::new("ft.test");
    let address = domain.serve(domain.identity(Role::Admin("root".into())), ClientAuth::Optional).await;
    assert_refused(whoami(address, domain.client(None, ExpectedPeer::Manager)).await, "certificate");
}

#[tokio::test]
async fn a_client_without_certificate_is_nobody_or_refused() {
    let domain = Domain::new("ft.test");
    let open = domain.serve(domain.identity(Role::Manager), ClientAuth::Optional).await;
    assert_eq!(whoami(open, domain.client(None, ExpectedPeer::Manager)).await.unwrap(), "nobody");
    let closed = domain.serve(domain.identity(Role::Manager), ClientAuth::Required).await;
    let refused = whoami(closed, domain.client(None, ExpectedPeer::Manager)).await;
    assert_refused(refused, "CertificateRequired");
}

#[tokio::test]
async fn expired_certificates_are_refused_by_both_sides() {
    let domain = Domain::new("ft.test");
    // Issued BACKDATE in the past and valid for no time at all: expired one second later at the latest.
    let expired = |role| domain.authority.issue_identity(role, &[], Duration::ZERO).unwrap();
    let (manager, vm) = (expired(Role::Manager), expired(Role::Vm(1)));
    while std::time::SystemTime::now() <= vm.expires_at() + Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let address = domain.serve(CurrentIdentity::new(manager).unwrap(), ClientAuth::Optional).await;
    assert_refused(whoami(address, domain.client(None, ExpectedPeer::Manager)).await, "expired");

    let address = domain.serve(domain.identity(Role::Manager), ClientAuth::Required).await;
    let late = domain.client(Some(CurrentIdentity::new(vm).unwrap()), ExpectedPeer::Manager);
    assert_refused(whoami(address, late).await, "CertificateExpired");
}

#[tokio::test]
async fn a_worker_joins_with_the_pin_alone() {
    let domain = Domain::new("ft.test");
    let address = domain.serve(domain.identity(Role::Manager), ClientAuth::Optional).await;
    let token = Token::generate(domain.authority.ca_sha256()).unwrap();
    let pinned = client_config_pinned(token.ca_sha256, ALPN).unwrap();
    assert_eq!(whoami(address, pinned).await.unwrap(), "nobody");

    // What the join answers: a chain from which the worker takes its identity and its trust root.
    let key = PrivateKey::generate().unwrap();
    let request = SigningRequest::parse(&key.signing_request().unwrap()).unwrap();
    let chain = domain.authority.issue(&request, Role::Vm(1), HOUR).unwrap();
    let roots = TrustRoots::from_chain(&chain, &token.ca_sha256).unwrap();
    assert!(TrustRoots::from_chain(&chain, &[0; 32]).is_err());
    let identity = CurrentIdentity::new(Identity::new(chain, key).unwrap()).unwrap();
    let config = client_config(&roots, Some(identity), ExpectedPeer::Manager, ALPN).unwrap();
    assert_eq!(whoami(address, config).await.unwrap(), "spiffe://ft.test/vm/1");
}

#[tokio::test]
async fn a_pinning_client_refuses_anybody_else() {
    let (ours, theirs) = (Domain::new("ft.test"), Domain::new("ft.test"));
    let pin = ours.authority.ca_sha256();
    let stranger = theirs.serve(theirs.identity(Role::Manager), ClientAuth::Optional).await;
    assert_refused(whoami(stranger, client_config_pinned(pin, ALPN).unwrap()).await, "the token pins");
    let vm = ours.serve(ours.identity(Role::Vm(1)), ClientAuth::Optional).await;
    assert_refused(whoami(vm, client_config_pinned(pin, ALPN).unwrap()).await, "vm/1");

    // The right authority's certificate is public: sending it along does not help without its signature.
    let forged = theirs.authority.issue_identity(Role::Manager, &[], HOUR).unwrap();
    let chain = vec![forged.chain()[0].clone(), ours.identity(Role::Manager).get().chain()[1].clone()];
    let forged = CurrentIdentity::new(Identity::new(chain, forged.key().clone()).unwrap()).unwrap();
    let forger = theirs.serve(forged, ClientAuth::Optional).await;
    assert_refused(
        whoami(forger, client_config_pinned(pin, ALPN).unwrap()).await,
        "invalid peer certificate",
    );
}

#[tokio::test]
async fn renewal_keeps_connections_and_shows_in_new_ones() {
    let domain = Domain::new("ft.test");
    let server = domain.identity(Role::Vm(1));
    let address = domain.serve(Arc::clone(&server), ClientAuth::Required).await;
    let client = domain.identity(Role::Vm(8));
    let config = domain.client(Some(Arc::clone(&client)), ExpectedPeer::AnyVm);
    let mut before = connect(address, config.clone()).await.unwrap();
    assert_eq!(ask(&mut before).await.unwrap(), "spiffe://ft.test/vm/8");

    server.replace(domain.identity(Role::Vm(2)).get()).unwrap();
    client.replace(domain.identity(Role::Vm(9)).get()).unwrap();
    let mut after = connect(address, config).await.unwrap();
    assert_eq!(ask(&mut after).await.unwrap(), "spiffe://ft.test/vm/9");
    let chain = after.inner().get_ref().1.peer_certificates().unwrap();
    assert_eq!(peer_uri(chain).unwrap().vm(), Some(2));
    assert_eq!(ask(&mut before).await.unwrap(), "spiffe://ft.test/vm/8", "the old connection goes on");
}

#[tokio::test]
async fn a_silent_stranger_is_cut_off() {
    let domain = Domain::new("ft.test");
    let identity = domain.identity(Role::Manager);
    let config = Arc::new(server_config(&domain.roots, identity, ClientAuth::Optional, ALPN).unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = AcceptLimits { handshake_timeout: Duration::from_millis(50), handshakes: 1 };
    let mut incoming = TlsIncoming::new(listener, config, limits);
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "the server closes");
    // Its slot is free again.
    let client = connect(address, domain.client(None, ExpectedPeer::Manager)).await.unwrap();
    assert!(incoming.next().await.unwrap().peer().uri.is_none());
    drop(client);
}

#[tokio::test]
async fn dropping_the_incoming_stream_stops_listening() {
    let domain = Domain::new("ft.test");
    let identity = domain.identity(Role::Manager);
    let config = Arc::new(server_config(&domain.roots, identity, ClientAuth::Optional, ALPN).unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(TlsIncoming::new(listener, config, AcceptLimits::default()));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "still listening");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn quic_takes_the_same_configurations() {
    let domain = Domain::new("ft.test");
    let server =
        server_config(&domain.roots, domain.identity(Role::Vm(1)), ClientAuth::Required, ALPN).unwrap();
    let server = quinn::crypto::rustls::QuicServerConfig::try_from(server).unwrap();
    let server = quinn::ServerConfig::with_crypto(Arc::new(server));
    let endpoint = quinn::Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let chain = connection.peer_identity().unwrap().downcast::<Vec<_>>().unwrap();
        let peer = peer_uri(&chain).unwrap();
        connection.closed().await;
        peer
    });

    let client = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let config = |expect| {
        let config = domain.client(Some(domain.identity(Role::Vm(2))), expect);
        let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
        quinn::ClientConfig::new(Arc::new(config))
    };
    let connection =
        client.connect_with(config(ExpectedPeer::Vm(1)), address, "ignored").unwrap().await.unwrap();
    connection.close(0u32.into(), b"");
    assert_eq!(accepting.await.unwrap().to_string(), "spiffe://ft.test/vm/2");
}
