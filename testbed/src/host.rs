//! One host of a testbed.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::process::Command;

/// A network namespace with one link, `eth0`.
#[derive(Clone, Debug)]
pub struct Host {
    pub(crate) namespace: String,
    pub(crate) ip: IpAddr,
}

impl Host {
    /// The namespace's name, as `ip netns` shows it.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The host's address on the testbed's network.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// A command that will run on this host: it joins the network namespace and nothing else, so that mounts
    /// stay in the caller's mount namespace (where they can be cleaned up). The child's pid is the program's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace)).arg("--").arg(program);
        command
    }
}
