//! Peers that speak TLS, but not the protocol.
