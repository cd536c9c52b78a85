//! The manager as clients and workers see it: real gRPC over TLS on loopback, with scripted workers.
#![cfg(test)]

mod access;
mod cluster;
mod functions;
mod lifecycle;
mod profiles;
mod provision;
mod replace;
mod slow;
mod worker;
