//! Real hosts on one machine: network namespaces on a bridge, each behind a link that is rate-capped both ways.
//!
//! ```text
//!   host 0            host 1                 host N-1
//!   eth0 10.77.0.1    eth0 10.77.0.2         eth0 …
//!     | veth, tbf        | veth, tbf           | veth, tbf
//!   ──p0────────────────p1── … ───────────────pN-1──   bridge br0, in a namespace of its own
//! ```
//!
//! The root namespace takes no part, so a testbed neither sees nor disturbs the machine's own network.
//! Needs root and Debian's `iproute2` and `util-linux`.

mod enter;
mod host;
mod rate;
mod stale;
mod tool;

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

pub use enter::{mount_memory, own_mounts};
pub use host::Host;
pub use rate::{ParseRateError, Rate};
pub use tool::Error;

/// The most hosts on one testbed; its network is a /22.
pub const MAX_HOSTS: usize = 1000;

/// What a testbed is to look like.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many hosts.
    pub hosts: usize,
    /// Cap of every host's link, in each direction; `None`: as fast as the machine.
    pub rate: Option<Rate>,
}

/// Hosts and the bridge between them; dropping it takes them away.
#[derive(Debug)]
pub struct Testbed {
    switch: String,
    hosts: Vec<Host>,
}

impl Testbed {
    /// Makes the namespaces and links. Testbeds that a killed process left behind are removed first.
    ///
    /// # Errors
    /// A command of `iproute2` failed (its message is in the error), or `options` ask for too many hosts.
    pub fn create(options: &Options) -> Result<Self, Error> {
        if options.hosts == 0 || options.hosts > MAX_HOSTS {
            return Err(Error::HostCount { asked: options.hosts });
        }
        stale::remove()?;
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = stale::prefix(NEXT.fetch_add(1, Ordering::Relaxed));
        let mut testbed = Self { switch: format!("{prefix}-sw"), hosts: Vec::new() };
        // From here on, dropping `testbed` removes whatever was made.
        testbed.add_switch()?;
        for nth in 0..options.hosts {
            testbed.add_host(&prefix, nth)?;
        }
        if let Some(rate) = options.rate {
            for nth in 0..options.hosts {
                testbed.set_rate(nth, Some(rate))?;
            }
        }
        Ok(testbed)
    }

    /// The hosts, in order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Caps host `nth`'s link in each direction, or lifts the cap.
    ///
    /// # Errors
    /// There is no such host, or `tc` failed.
    pub fn set_rate(&self, nth: usize, rate: Option<Rate>) -> Result<(), Error> {
        let host = self.host(nth)?;
        tool::set_rate(&host.namespace, "eth0", rate)?;
        tool::set_rate(&self.switch, &port(nth), rate)
    }

    /// Cuts host `nth`'s link, or mends it.
    ///
    /// # Errors
    /// There is no such host, or `ip` failed.
    pub fn set_link(&self, nth: usize, up: bool) -> Result<(), Error> {
        self.host(nth)?;
        let state = if up { "up" } else { "down" };
        tool::ip(&format!("-n {} link set {} {state}", self.switch, port(nth)))
    }

    /// Bytes that host `nth` has sent and received over its link.
    ///
    /// # Errors
    /// There is no such host, or its counters cannot be read.
    pub fn link_bytes(&self, nth: usize) -> Result<LinkBytes, Error> {
        let host = self.host(nth)?;
        let read = |counter: &str| {
            let path = format!("/sys/class/net/eth0/statistics/{counter}");
            // `ip netns exec` mounts a /sys of the namespace; the one outside shows the root's interfaces.
            tool::output(Command::new("ip").args(["netns", "exec", &host.namespace, "cat", &path])).and_then(
                |text| text.trim().parse::<u64>().map_err(|_| Error::Counter { path: path.clone(), text }),
            )
        };
        Ok(LinkBytes { sent: read("tx_bytes")?, received: read("rx_bytes")? })
    }

    fn host(&self, nth: usize) -> Result<&Host, Error> {
        self.hosts.get(nth).ok_or(Error::NoHost { nth, hosts: self.hosts.len() })
    }

    fn add_switch(&self) -> Result<(), Error> {
        tool::ip(&format!("netns add {}", self.switch))?;
        tool::ip(&format!("-n {} link add br0 type bridge forward_delay 0 mcast_snooping 0", self.switch))?;
        tool::ip(&format!("-n {} link set br0 up", self.switch))?;
        enter::spare_filters(&self.switch)
    }

    fn add_host(&mut self, prefix: &str, nth: usize) -> Result<(), Error> {
        let namespace = format!("{prefix}-h{nth}");
        let ip = address(nth);
        let port = port(nth);
        self.hosts.push(Host { namespace: namespace.clone(), ip: IpAddr::V4(ip) });
        tool::ip(&format!("netns add {namespace}"))?;
        tool::ip(&format!("-n {} link add {port} type veth peer name eth0 netns {namespace}", self.switch))?;
        tool::ip_batch(
            &self.switch,
            &[format!("link set {port} master br0"), format!("link set {port} up")],
        )?;
        tool::ip_batch(
            &namespace,
            &[
                "link set lo up".to_owned(),
                format!("addr add {ip}/22 dev eth0"),
                "link set eth0 up".to_owned(),
            ],
        )
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let namespaces = self.hosts.iter().map(|host| host.namespace.as_str());
        for namespace in namespaces.chain([self.switch.as_str()]) {
            // One that was never made cannot be removed; nobody could act on the error here.
            let _ = tool::ip(&format!("netns del {namespace}"));
        }
    }
}

/// Bytes over a link, headers included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkBytes {
    /// From the host to the bridge.
    pub sent: u64,
    /// From the bridge to the host.
    pub received: u64,
}

/// 10.77.0.1 for host 0, and so on.
fn address(nth: usize) -> Ipv4Addr {
    let base = u32::from(Ipv4Addr::new(10, 77, 0, 1));
    Ipv4Addr::from(base + u32::try_from(nth).unwrap_or(0))
}

/// The bridge's end of host `nth`'s link.
fn port(nth: usize) -> String {
    format!("p{nth}")
}
