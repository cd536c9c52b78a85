//! Flags of the daemons, and of what is done where they run.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::bytes::parse_bytes;
use super::rates::parse_limit;
use super::{RuntimeChoice, TransportChoice};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ft manager                                         on this host only
  ft manager --listen 0.0.0.0:7400 --advertise 10.0.0.1  for VMs elsewhere

It writes admin.json (the credential that the other commands use) and join-token (for workers) into the
state directory.")]
pub(crate) struct ManagerArgs {
    /// Where the manager keeps its state.
    #[arg(long, value_name = "DIR", env = "FT_MANAGER_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Address of the gRPC services.
    #[arg(long, default_value = "127.0.0.1:7400", env = "FT_LISTEN")]
    pub listen: SocketAddr,
    /// Address of the origin beside the manager; by default the next port.
    #[arg(long, env = "FT_ORIGIN_LISTEN")]
    pub origin_listen: Option<SocketAddr>,
    /// The host name or address under which others reach this host; by default the one listened on.
    #[arg(long, value_name = "HOST", env = "FT_ADVERTISE")]
    pub advertise: Option<String>,
    /// Where the origin keeps packs; by default `origin` in the state directory.
    #[arg(long, value_name = "DIR", env = "FT_ORIGIN_DIR")]
    pub origin_dir: Option<PathBuf>,
    /// A VM that is silent for this long leaves its trees.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "3s", env = "FT_LEASE")]
    pub lease: Duration,
    /// How long a worker's certificate lasts; it is renewed before it ends.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "24h", env = "FT_CERTIFICATE_LIFETIME")]
    pub certificate_lifetime: Duration,
    /// End with the process that started this one.
    #[arg(long, hide = true)]
    pub die_with_parent: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  ft worker --manager https://10.0.0.1:7400 --join-token-file /etc/ft/join-token --listen 10.0.0.2:7410")]
pub(crate) struct WorkerArgs {
    /// The manager.
    #[arg(long, value_name = "URL", default_value = "https://127.0.0.1:7400", env = "FT_MANAGER")]
    pub manager: String,
    /// A file with the join token; by default the one of a manager on this host.
    #[arg(long, value_name = "FILE", env = "FT_JOIN_TOKEN_FILE")]
    pub join_token_file: Option<PathBuf>,
    /// Where the worker keeps blocks and mounts.
    #[arg(long, value_name = "DIR", env = "FT_WORKER_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Address for other workers (UDP and TCP). Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7410", env = "FT_WORKER_LISTEN")]
    pub listen: SocketAddr,
    /// The address that other workers are told; by default the one listened on.
    #[arg(long, value_name = "IP:PORT", env = "FT_WORKER_ADVERTISE")]
    pub advertise: Option<SocketAddr>,
    /// What carries blocks to and from other workers.
    #[arg(long, value_enum, default_value_t, env = "FT_TRANSPORT")]
    pub transport: TransportChoice,
    /// A name for people; by default the host's.
    #[arg(long, env = "FT_WORKER_NAME")]
    pub name: Option<String>,
    /// What runs containers.
    #[arg(long, value_enum, default_value_t, env = "FT_RUNTIME")]
    pub runtime: RuntimeChoice,
    /// The most bytes of blocks and mounted images to keep.
    #[arg(long, value_name = "BYTES", default_value = "20GB", value_parser = parse_bytes, env = "FT_QUOTA")]
    pub quota: u64,
    /// A read that waits for a block fails after this long.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "60s", env = "FT_READ_DEADLINE")]
    pub read_deadline: Duration,
    /// The most to send to other workers, as in 100mbit.
    #[arg(long, value_name = "RATE", default_value = "none", value_parser = parse_limit, env = "FT_UPLOAD_LIMIT")]
    pub upload_limit: u64,
    /// The most to receive from other workers and from the origin, as in 100mbit.
    #[arg(long, value_name = "RATE", default_value = "none", value_parser = parse_limit, env = "FT_DOWNLOAD_LIMIT")]
    pub download_limit: u64,
    /// End with the process that started this one.
    #[arg(long, hide = true)]
    pub die_with_parent: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// The manager's state directory.
    #[arg(long, value_name = "DIR", env = "FT_MANAGER_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where the origin keeps packs; by default `origin` in the state directory.
    #[arg(long, value_name = "DIR", env = "FT_ORIGIN_DIR")]
    pub origin_dir: Option<PathBuf>,
    /// Spare objects younger than this: somebody may be publishing them.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "1h")]
    pub grace: Duration,
    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Also check that this manager can be reached.
    #[arg(long, value_name = "URL", env = "FT_MANAGER")]
    pub manager: Option<String>,
}
