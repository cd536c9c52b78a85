//! What the user typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ft_proto::v1;

use crate::output::Format;

/// Starts a serverless function on 1,000 machines in the time it takes on one.
#[derive(Debug, Parser)]
#[command(
    name = "ft",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  ft demo                                       a whole cluster on this machine
  ft manager & ft worker --join-token-file ...  the daemons
  ft seed docker://127.0.0.1:5000/py:v1 --name py
  ft provision py --count 5 --wait ready

Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 not allowed, 5 unreachable, 6 integrity."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// How to write results.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        env = "FT_OUTPUT",
        help_heading = "Global"
    )]
    pub output: Format,
    /// Say more on stderr; may be repeated.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global")]
    pub verbose: u8,
    /// Say nothing on stderr but errors: no progress, no warnings.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global")]
    pub quiet: bool,
    /// How to write logs.
    #[arg(long, global = true, value_enum, default_value_t, env = "FT_LOG_FORMAT", help_heading = "Global")]
    pub log_format: Format,
    /// A TOML file with defaults for the flags of the command, by their long names.
    #[arg(long, global = true, value_name = "FILE", env = "FT_CONFIG", help_heading = "Global")]
    pub config: Option<PathBuf>,
    /// The credential to show the manager. A manager writes one to admin.json in its state directory when it
    /// starts; by default the one on this host is used.
    #[arg(long, global = true, value_name = "FILE", env = "FT_CREDENTIAL", help_heading = "Global")]
    pub credential: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole cluster on this machine: manager, origin, workers, a function image; then clean up.
    Demo(DemoArgs),
    /// Run the tree manager, and the origin beside it.
    Manager(ManagerArgs),
    /// Run the worker of this VM.
    Worker(WorkerArgs),
    /// Convert an image, archive or directory into a function image and publish it.
    Seed(SeedArgs),
    /// Start containers of a function.
    Provision(ProvisionArgs),
    /// List containers.
    Ps(PsArgs),
    /// Run a command inside a container.
    Exec(ExecArgs),
    /// Stop containers of a function.
    Reclaim(ReclaimArgs),
    /// List, show and remove functions.
    #[command(subcommand)]
    Function(FunctionCommand),
    /// List and drain VMs, and let new ones join.
    #[command(subcommand)]
    Vm(VmCommand),
    /// Show function trees.
    #[command(subcommand)]
    Tree(TreeCommand),
    /// Look into function images.
    #[command(subcommand)]
    Image(ImageCommand),
    /// Remove what no function uses from the origin beside the manager.
    Gc(GcArgs),
    /// Say what this host can and cannot do, and how to mend it.
    Doctor(DoctorArgs),
    /// Print a shell completion script.
    #[command(after_help = "Example:\n  ft completion bash > /etc/bash_completion.d/ft")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How much of an image a VM receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// What readers ask for.
    #[default]
    Lazy,
    /// Every block.
    Full,
}

impl From<Mode> for v1::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Lazy => Self::Lazy,
            Mode::Full => Self::Full,
        }
    }
}

/// The shape of a function tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// One binary tree.
    Avl,
    /// Two binary trees, each carrying half of the blocks.
    #[default]
    Paired,
}

impl From<Shape> for v1::TreeShape {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Avl => Self::Avl,
            Shape::Paired => Self::Paired,
        }
    }
}

/// What runs containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuntimeChoice {
    /// runc if it is there and this is root, else the built-in sandbox.
    #[default]
    Auto,
    /// runc.
    Runc,
    /// The built-in sandbox.
    Sandbox,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ft demo                         seven VMs, an image made of this host's python3
  ft demo --vms 15 --tree avl     the paper's tree
  ft demo oci:./image:v1 -o json  your own image, figures as JSON")]
pub(crate) struct DemoArgs {
    /// What to seed, as in `ft seed`; by default an image made of this host's python3 or Rust toolchain.
    pub source: Option<String>,
    /// How many VMs (workers).
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub vms: u32,
    /// How much of the image every VM receives.
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// The shape of the function tree.
    #[arg(long, value_enum, default_value_t)]
    pub tree: Shape,
    /// What runs the containers.
    #[arg(long, value_enum, default_value_t)]
    pub runtime: RuntimeChoice,
    /// Where to work; a directory of its own is made in it and removed at the end.
    #[arg(long, value_name = "DIR", env = "FT_DEMO_DIR")]
    pub dir: Option<PathBuf>,
    /// Give up after this long.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "5m")]
    pub timeout: Duration,
    /// What to run in the containers instead of the image's command.
    #[arg(last = true, value_name = "COMMAND")]
    pub args: Vec<String>,
}

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
    /// Address for other workers (UDP). Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7410", env = "FT_WORKER_LISTEN")]
    pub listen: SocketAddr,
    /// The address that other workers are told; by default the one listened on.
    #[arg(long, value_name = "IP:PORT", env = "FT_WORKER_ADVERTISE")]
    pub advertise: Option<SocketAddr>,
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
    /// End with the process that started this one.
    #[arg(long, hide = true)]
    pub die_with_parent: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ft seed docker://127.0.0.1:5000/py:v1 --name py
  ft seed oci:./layout:v1 --name py --check-http 8080/health
  ft seed dir:./rootfs --name hello -- /bin/hello
  ft seed tar:rootfs.tar.zst --name hello --origin docker://registry.example/functions/hello

Sources: docker://HOST/REPO:TAG, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:TAG], dir:DIR,
zip:FILE, tar:FILE (plain, gzip or zstd).")]
pub(crate) struct SeedArgs {
    /// What to convert.
    pub source: String,
    /// The function's name. A name that exists gets a new version.
    #[arg(long)]
    pub name: String,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
    /// Where to publish: dir:DIR, https://HOST, docker://HOST/REPO; by default the origin beside the manager.
    #[arg(long, value_name = "ORIGIN", env = "FT_ORIGIN")]
    pub origin: Option<String>,
    #[command(flatten)]
    pub convert: ConvertArgs,
    /// The command to run instead of the image's.
    #[arg(last = true, value_name = "COMMAND")]
    pub args: Vec<String>,
}

/// How to convert a source.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ConvertArgs {
    /// An environment variable, KEY=VALUE, besides the image's own.
    #[arg(long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// The working directory.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Ready when this command (by /bin/sh) exits 0.
    #[arg(long, value_name = "COMMAND", group = "check")]
    pub check_exec: Option<String>,
    /// Ready when http://127.0.0.1:PORT/PATH answers with a status below 400.
    #[arg(long, value_name = "PORT/PATH", group = "check")]
    pub check_http: Option<String>,
    /// Ready when this TCP port accepts connections.
    #[arg(long, value_name = "PORT", group = "check")]
    pub check_tcp: Option<u16>,
    /// Speak plain HTTP to the registry (loopback registries may always be spoken to so).
    #[arg(long)]
    pub plain_http: bool,
    /// Registry credentials in the format of docker's config.json; by default docker's own file.
    #[arg(long, value_name = "FILE", env = "REGISTRY_AUTH_FILE")]
    pub authfile: Option<PathBuf>,
    /// Where to keep files while converting.
    #[arg(long, value_name = "DIR", env = "TMPDIR")]
    pub work_dir: Option<PathBuf>,
}

/// What `provision` waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Every container is ready (or has failed).
    #[default]
    Ready,
    /// Every container is placed.
    Placed,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ft provision py --count 5 --wait ready
  ft provision py@2 --count 1000 --mode full --tree paired -o json
  ft provision py --count 1 -- python3 -c 'print(1)'")]
pub(crate) struct ProvisionArgs {
    /// NAME (the newest version) or NAME@VERSION.
    pub function: String,
    /// How many containers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// What to wait for.
    #[arg(long, value_enum, default_value_t)]
    pub wait: Wait,
    /// How much of the image every VM receives.
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// The shape of the function tree.
    #[arg(long, value_enum, default_value_t)]
    pub tree: Shape,
    /// Fail what is not ready by then.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "5m")]
    pub timeout: Duration,
    /// An environment variable, KEY=VALUE.
    #[arg(long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// The most memory a container may use.
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "0", hide_default_value = true)]
    pub memory: u64,
    /// Only on these VMs.
    #[arg(long = "vm", value_name = "VM")]
    pub vms: Vec<String>,
    /// Calling again with the same key gives the same containers.
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    pub idempotency_key: String,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
    /// What to run instead of the image's command.
    #[arg(last = true, value_name = "COMMAND")]
    pub args: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Only of this function.
    #[arg(default_value = "", hide_default_value = true)]
    pub function: String,
    /// Also those that have ended.
    #[arg(short, long)]
    pub all: bool,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ft exec c1-1 -- python3 -V")]
pub(crate) struct ExecArgs {
    /// The container.
    pub container: String,
    /// Give up after this long.
    #[arg(long, value_parser = humantime::parse_duration, default_value = "60s")]
    pub timeout: Duration,
    /// The command.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub args: Vec<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ft reclaim py            all of them\n  ft reclaim py --count 2  two of them"
)]
pub(crate) struct ReclaimArgs {
    /// NAME (every version) or NAME@VERSION.
    pub function: String,
    /// How many; by default all.
    #[arg(long, conflicts_with = "containers")]
    pub count: Option<u32>,
    /// These containers.
    #[arg(long = "container", value_name = "CONTAINER")]
    pub containers: Vec<String>,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FunctionCommand {
    /// List functions.
    Ls {
        /// Also older versions.
        #[arg(short, long)]
        all_versions: bool,
        /// The tenant; by default your own.
        #[arg(long, default_value = "", hide_default_value = true)]
        tenant: String,
    },
    /// Show one function.
    Show(FunctionName),
    /// Remove a function, or one version of it.
    Rm(FunctionName),
}

/// A function by name.
#[derive(Debug, Args)]
pub(crate) struct FunctionName {
    /// NAME or NAME@VERSION.
    pub function: String,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VmCommand {
    /// List VMs.
    Ls,
    /// Stop a VM's containers and place nothing on it any more.
    Drain {
        /// The VM, as `ft vm ls` shows it.
        vm: String,
    },
    /// Print a new join token.
    Token {
        /// How long it may be used.
        #[arg(long, value_parser = humantime::parse_duration, default_value = "24h")]
        ttl: Duration,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TreeCommand {
    /// Show the tree of a function as it is now.
    Show(FunctionName),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Show segments, blocks and run configuration.
    Inspect(ImageArgs),
    /// Check every block and every directory.
    Verify(ImageArgs),
    /// Write an image's files to a directory.
    Materialize {
        #[command(flatten)]
        image: ImageArgs,
        /// Where to; must not exist or be empty.
        dest: PathBuf,
        /// Do not apply owners and devices (what a user who is not root can do).
        #[arg(long)]
        rootless: bool,
    },
}

/// Which image.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// A function (NAME or NAME@VERSION), or a SOURCE as in `ft seed`, which is converted on the spot.
    pub image: String,
    /// The tenant; by default your own.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub tenant: String,
    #[command(flatten)]
    pub convert: ConvertArgs,
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

/// `512`, `64kB`, `1.5GB`, `4MiB` as bytes.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        _ => return Err(format!("{unit:?} is no unit: use B, kB, MB, GB, TB, KiB, MiB, GiB or TiB")),
    };
    let number: f64 = number.parse().map_err(|_| "expected a number and a unit, as in 20GB".to_owned())?;
    let bytes = number * factor;
    if bytes >= 9.2e18 {
        return Err("too many bytes".to_owned());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked just above; never negative"
    )]
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn byte_counts_parse() {
        assert_eq!(parse_bytes("512"), Ok(512));
        assert_eq!(parse_bytes("1.5GB"), Ok(1_500_000_000));
        assert_eq!(parse_bytes("4MiB"), Ok(4 << 20));
        assert!(parse_bytes("four").is_err() && parse_bytes("4 apples").is_err());
    }
}
