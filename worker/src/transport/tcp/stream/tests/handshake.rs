//! Handshakes that fail, and what comes right behind those that do not.

use super::*;

/// Neither side takes garbage for a handshake. (On a debug build rustls would panic if it were asked twice.)
#[tokio::test]
async fn garbage_instead_of_a_handshake_is_refused_and_answered_by_an_alert() {
    let domain = Domain::new();
    let (child, parent) = (domain.tls(Role::Vm(CHILD.0)), domain.tls(Role::Vm(PARENT.0)));
    let config = server(&parent).unwrap();
    let unknown = vec![22, 3, 3, 0, 4, 99, 0, 0, 0];
    for (garbage, accepts) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), true),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), false),
        (unknown.clone(), true),
        (unknown, false),
    ] {
        let (ours, mut peer) = tcp_pair().await;
        peer.write_all(&garbage).await.unwrap();
        let made =
            async { if accepts { accept(ours, &config).await } else { connect(ours, &child, PARENT).await } };
        assert!(in_time(made).await.is_err(), "{garbage:?}");
        let mut heard = Vec::new();
        // What it had not read may reset the connection behind the alert.
        let _ = in_time(peer.read_to_end(&mut heard)).await;
        let alert = heard.get(heard.len().saturating_sub(7)..).unwrap_or_default();
        assert!(matches!(alert, [21, 3, 3, 0, 2, FATAL, _]), "{garbage:?}: {heard:?}");
    }
}

/// What comes in one piece with the end of the handshake belongs to the stream, and so does its end.
#[tokio::test]
async fn what_comes_with_the_handshake_is_read() {
    say_with_the_handshake(false).await;
}

/// A peer may take another key at once.
#[tokio::test]
async fn a_key_update_with_the_handshake_is_followed_and_answered() {
    say_with_the_handshake(true).await;
}

async fn say_with_the_handshake(update_keys: bool) {
    let domain = Domain::new();
    let config = server(&domain.tls(Role::Vm(PARENT.0))).unwrap();
    let connector =
        tokio_rustls::TlsConnector::from(Arc::new(domain.tls(Role::Vm(CHILD.0)).client(PARENT).unwrap()));
    let (out, coming) = tcp_pair().await;
    // Holds back what the child says at the end of its handshake until more has been said.
    let (near, far) = tokio::io::duplex(1 << 20);
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let child = async {
        let mut child = connector.connect(name, near).await.unwrap();
        if update_keys {
            // Of rustls', this asks for an update of ours.
            child.get_mut().1.refresh_traffic_keys().unwrap();
        }
        child.write_all(&pattern(40_000)).await.unwrap();
        child.shutdown().await.unwrap();
        let mut got = Vec::new();
        child.read_to_end(&mut got).await.expect("a close in order");
        assert!(got == pattern(60_000), "{} bytes", got.len());
    };
    let between = async {
        let (mut from_child, mut to_child) = tokio::io::split(far);
        let (mut from_parent, mut to_parent) = out.into_split();
        let mut hello = vec![0; MAX_RECORD];
        let len = from_child.read(&mut hello).await.unwrap();
        to_parent.write_all(&hello[..len]).await.unwrap();
        let back = tokio::spawn(async move { tokio::io::copy(&mut from_parent, &mut to_child).await });
        // To the end of what the child says: it closes its side.
        let mut rest = Vec::new();
        from_child.read_to_end(&mut rest).await.unwrap();
        to_parent.write_all(&rest).await.unwrap();
        (to_parent, back)
    };
    let parent = async {
        let (mut read, mut write) = accept(coming, &config).await.unwrap().split();
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.expect("a close in order");
        assert!(got == pattern(40_000), "{} bytes", got.len());
        let key_of_the_handshake = write.records_of_key();
        write.write_all([&pattern(60_000)[..]]).await.unwrap();
        assert_eq!(write.records_of_key(), 4 + if update_keys { 0 } else { key_of_the_handshake });
        write.shutdown().await.unwrap();
    };
    in_time(async { tokio::join!(child, between, parent) }).await;
}
