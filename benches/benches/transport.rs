//! TLS over TCP between two workers on loopback: the CPU time of both sides for each gigabyte of blocks, and the rate.
//! Not criterion: what counts is the CPU time of the whole process.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ft_benches::{block, size};
use ft_core::relay::Class;
use ft_core::{BlockIndex, Digest, VmId};
use ft_identity::{CertificateAuthority, CurrentIdentity, Role};
use ft_worker::transport::{Frame, FromParent, PeerAddress, PeerTls, TcpTransport, Transport};
use ft_worker::wire::Lane;
use rustix::time::{ClockId, clock_gettime};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ROUNDS: u32 = 3;
const PARENT: VmId = VmId(1);
const CHILD: VmId = VmId(2);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let blocks = size(4096, 16);
    let authority = CertificateAuthority::generate("ft.bench")?;
    let (parent, child) = (worker(&authority, PARENT)?, worker(&authority, CHILD)?);
    let stored = Bytes::from(block());
    let gigabytes = stored.len() as f64 * f64::from(blocks) / 1e9;
    for _ in 0..ROUNDS {
        let (cpu, wall) = (cpu_time(), Instant::now());
        relay(&parent, &child, blocks, &stored).await?;
        let (cpu, wall) = (cpu_time() - cpu, wall.elapsed());
        let (cpu, rate) = (cpu.as_secs_f64() / gigabytes, gigabytes / wall.as_secs_f64());
        println!("transport/tcp: {cpu:.3} CPU seconds per GB sent and received, {rate:.2} GB/s");
    }
    child.close().await;
    parent.close().await;
    Ok(())
}

fn worker(authority: &CertificateAuthority, vm: VmId) -> Result<TcpTransport, Failure> {
    let identity = authority.issue_identity(Role::Vm(vm.0), &[], Duration::from_secs(600))?;
    let tls = PeerTls { roots: authority.trust_roots()?, identity: CurrentIdentity::new(identity)? };
    Ok(TcpTransport::bind((Ipv4Addr::LOCALHOST, 0).into(), tls)?)
}

/// Sends `blocks` blocks through a session of its own.
async fn relay(
    parent: &TcpTransport,
    child: &TcpTransport,
    blocks: u32,
    stored: &Bytes,
) -> Result<(), Failure> {
    let at = PeerAddress { address: parent.local_addr(), transports: parent.kinds() };
    let image = Digest::from_bytes([7; 32]);
    let serve = async { parent.accept().await.map(|offer| Arc::new(offer.accept())) };
    let (upstream, downstream) = tokio::join!(child.connect(PARENT, &at, image), serve);
    let (mut upstream, downstream) = (upstream?, downstream.ok_or("closed")?);
    let mut lane = downstream.lanes.open(Lane::Demand).await?;
    let stored_by_parent = stored.clone();
    let sending = tokio::spawn(async move {
        for nth in 0..blocks {
            let stored = stored_by_parent.clone();
            lane.send(Frame { block: BlockIndex(nth), class: Class::Rest, stored }).await?;
        }
        Ok::<_, Failure>(())
    });
    for nth in 0..blocks {
        match upstream.events.recv().await.ok_or("no more events")?? {
            FromParent::Block(frame)
                if frame.block == BlockIndex(nth) && frame.stored.len() == stored.len() => {}
            other => return Err(format!("{other:?} in place of block {nth}").into()),
        }
    }
    sending.await?
}

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or_default();
    Duration::new(now.tv_sec.unsigned_abs(), nanos)
}
