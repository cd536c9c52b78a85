//! The manager's words for edges, as the relay's.

use std::net::SocketAddr;

use ft_core::relay::{Edges, Mode, StripeEdges};
use ft_core::{Epoch, VmId};
use ft_proto::v1;

use crate::lifecycle::CommandError;
use crate::relay::Addresses;
use crate::transport::{PeerAddress, TransportKind};

/// The edges and addresses in a command.
pub(super) fn parse(follow: &v1::FollowImage) -> Result<(Edges, Addresses), CommandError> {
    let v1::Epoch { term, counter } = follow.epoch.unwrap_or_default();
    let stripes = follow.stripes.iter().map(parse_stripe).collect::<Result<Vec<_>, _>>()?;
    if !(1..=2).contains(&stripes.len()) {
        let cause = "a tree has one stripe or two".to_owned();
        return Err(CommandError::Invalid { field: "stripes", value: stripes.len().to_string(), cause });
    }
    let addresses = follow.peers.iter().map(|peer| Ok((vm(&peer.vm)?, peer_address(peer)?)));
    Ok((
        Edges { epoch: Epoch { term, counter }, vms: follow.vms, stripes },
        addresses.collect::<Result<_, CommandError>>()?,
    ))
}

/// A transport's name in the control protocol.
pub(super) fn name_of(kind: TransportKind) -> v1::Transport {
    match kind {
        TransportKind::Quic => v1::Transport::Quic,
        TransportKind::Tcp => v1::Transport::Tcp,
    }
}

/// The mode that the manager means.
pub(super) fn mode(mode: v1::Mode) -> Mode {
    match mode {
        v1::Mode::Full => Mode::Full,
        v1::Mode::Lazy | v1::Mode::Unspecified => Mode::Lazy,
    }
}

fn parse_stripe(stripe: &v1::StripeEdges) -> Result<StripeEdges, CommandError> {
    let optional = |text: &str| if text.is_empty() { Ok(None) } else { vm(text).map(Some) };
    Ok(StripeEdges {
        parent: optional(&stripe.parent)?,
        grandparent: optional(&stripe.grandparent)?,
        children: stripe.children.iter().map(|child| vm(child)).collect::<Result<_, _>>()?,
    })
}

fn vm(text: &str) -> Result<VmId, CommandError> {
    text.parse().map_err(|error: ft_core::vm::ParseVmIdError| CommandError::Invalid {
        field: "VM",
        value: text.to_owned(),
        cause: error.to_string(),
    })
}

fn peer_address(peer: &v1::Peer) -> Result<PeerAddress, CommandError> {
    let known = |transport| match transport {
        v1::Transport::Quic => Some(TransportKind::Quic),
        v1::Transport::Tcp => Some(TransportKind::Tcp),
        // Of a later version.
        v1::Transport::Unspecified => None,
    };
    let transports = if peer.transports.is_empty() {
        vec![TransportKind::Quic]
    } else {
        peer.transports().filter_map(known).collect()
    };
    Ok(PeerAddress { address: address(&peer.address)?, transports })
}

fn address(text: &str) -> Result<SocketAddr, CommandError> {
    text.parse().map_err(|error: std::net::AddrParseError| CommandError::Invalid {
        field: "peer address",
        value: text.to_owned(),
        cause: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_taken_over() {
        let follow = v1::FollowImage {
            epoch: Some(v1::Epoch { term: 2, counter: 5 }),
            stripes: vec![
                v1::StripeEdges { parent: "vm-1".into(), grandparent: String::new(), children: vec![] },
                v1::StripeEdges { children: vec!["vm-3".into(), "vm-4".into()], ..Default::default() },
            ],
            peers: vec![v1::Peer {
                vm: "vm-1".into(),
                address: "10.0.0.1:7000".into(),
                transports: vec![v1::Transport::Tcp.into(), 77],
            }],
            ..Default::default()
        };
        let (edges, addresses) = parse(&follow).unwrap();
        assert_eq!(edges.epoch, Epoch { term: 2, counter: 5 });
        assert_eq!((edges.stripes[0].parent, edges.stripes[0].grandparent), (Some(VmId(1)), None));
        assert_eq!(edges.stripes[1].children, [VmId(3), VmId(4)]);
        let address = "10.0.0.1:7000".parse().unwrap();
        let transports = vec![TransportKind::Tcp];
        assert_eq!(addresses[&VmId(1)], PeerAddress { address, transports });
    }

    /// A worker that says nothing of transports is of a time when there was one.
    #[test]
    fn a_peer_without_transports_speaks_quic() {
        let peer = v1::Peer { vm: "vm-1".into(), address: "10.0.0.1:7000".into(), transports: vec![] };
        assert_eq!(peer_address(&peer).unwrap().transports, [TransportKind::Quic]);
    }

    #[test]
    fn nonsense_is_named() {
        let stripe = v1::StripeEdges { parent: "vm-x".into(), ..Default::default() };
        let error = parse(&v1::FollowImage { stripes: vec![stripe], ..Default::default() }).unwrap_err();
        assert!(error.to_string().contains("vm-x"), "{error}");
        assert!(parse(&v1::FollowImage::default()).is_err(), "no stripes");
    }
}
