//! A binary for tests that need a process of their own: it stands in for `ft` where the sandbox runs `ft
//! __sandbox`, and for a worker that is to be killed while it holds mounts.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ft_worker::container::{
    Check, ExecSpec, Helper, Network, Runc, RuncOptions, Runtime, RuntimeChoice, Sandbox, SandboxOptions,
    Spec,
};
use ft_worker::mount::{
    DataSource, FuseHost, FuseOptions, ImageMount, ImageMountOptions, ReadError, ReadFuture, Rootfs,
};
use ft_worker::relay::LinkLimits;
use ft_worker::{RootChoice, Worker, WorkerLimits, WorkerOptions};
use tokio_util::sync::CancellationToken;

fn main() {
    let mut args = std::env::args_os().skip(1);
    let mode = args.next().unwrap_or_default();
    match mode.to_str() {
        Some("__sandbox") => ft_worker::container::sandbox_main(args),
        Some("mount-host") => mount_host(Path::new(&args.next().unwrap_or_default())),
        Some("hold-container") => {
            let kind = args.next().unwrap_or_default();
            hold_container(kind == "runc", Path::new(&args.next().unwrap_or_default()));
        }
        Some("worker") => worker(args.map(|arg| arg.to_string_lossy().into_owned()).collect()),
        Some("run-rootless") => run_rootless(Path::new(&args.next().unwrap_or_default())),
        _ => {
            eprintln!("unknown mode {mode:?}");
            std::process::exit(2);
        }
    }
}

struct Data(Vec<u8>);

impl DataSource for Data {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, len: u32) -> ReadFuture<'_> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.0.get(start..start.saturating_add(len as usize)).map(Bytes::copy_from_slice);
        Box::pin(async { bytes.ok_or_else(|| ReadError::new("out of bounds")) })
    }
}

/// Mounts the image in `dir` as a worker would, says so, and waits to be killed.
#[tokio::main]
async fn mount_host(dir: &Path) {
    const DEADLINE: Duration = Duration::from_secs(20);
    let runtime = tokio::runtime::Handle::current();
    let host = FuseHost::start(&dir.join("fuse"), runtime, FuseOptions::default()).expect("FUSE");
    let data = fs::read(dir.join("data.img")).expect("the image's data");
    let device = host.add("image", Arc::new(Data(data))).expect("a free name");
    let (meta, image) = (dir.join("meta.img"), dir.join("image"));
    let mounted =
        ImageMount::mount(&meta, Some(&device), &image, ImageMountOptions::default()).await.expect("EROFS");
    let _rootfs = Rootfs::overlay(mounted.path(), &dir.join("scratch"), &dir.join("root"), DEADLINE)
        .await
        .expect("overlayfs");
    println!("mounted");
    std::future::pending::<()>().await;
}

/// A worker, until it is killed. Told: its state directory, the manager, the join token, bytes per second that
/// it may receive.
#[tokio::main]
async fn worker(args: Vec<String>) {
    let [state_dir, manager, token, download] = &args[..] else { panic!("four words, not {args:?}") };
    let link = LinkLimits {
        upload_bytes_per_s: 0,
        download_bytes_per_s: download.parse().expect("bytes per second"),
    };
    let options = WorkerOptions {
        state_dir: state_dir.into(),
        manager: manager.clone(),
        join_token: Some(token.parse().expect("a token")),
        name: "killed".to_owned(),
        listen: (std::net::Ipv4Addr::LOCALHOST, 0).into(),
        transport: ft_worker::TransportChoice::Auto,
        advertise: None,
        runtime: RuntimeChoice::Sandbox,
        helper: Helper::current_exe(),
        network: Network::Isolated,
        roots: RootChoice::Mount,
        materializer: None,
        limits: WorkerLimits { link, heartbeat: Duration::from_millis(50), ..WorkerLimits::default() },
    };
    let worker = Worker::start(options, CancellationToken::new()).await.expect("a worker");
    worker.wait().await.expect("an end");
}

/// A container in the directory `rootfs` of `dir`.
fn spec(dir: &Path, args: &[&str]) -> Spec {
    Spec {
        id: "held".to_owned(),
        rootfs: dir.join("rootfs"),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: Vec::new(),
        cwd: "/".to_owned(),
        uid: 0,
        gid: 0,
        memory_bytes: Some(64 << 20),
        hostname: "function".to_owned(),
        network: Network::Isolated,
        output: dir.join("output"),
    }
}

/// Starts a container as a worker would, says the number of its PID 1, and waits to be killed.
#[tokio::main]
async fn hold_container(runc: bool, dir: &Path) {
    let state = dir.join("state");
    let runtime: Box<dyn Runtime> = if runc {
        Box::new(Runc::new(RuncOptions::new(state)).expect("runc"))
    } else {
        Box::new(Sandbox::new(SandboxOptions::new(state)))
    };
    let spec = Spec { id: format!("held-{}", std::process::id()), ..spec(dir, &["/bin/sleep", "1000"]) };
    let container = runtime.start(spec).await.expect("a container");
    println!("{}", container.init_pid());
    std::future::pending::<()>().await;
}

/// Runs a container without root, and shows what it and a command in it see.
#[tokio::main]
async fn run_rootless(dir: &Path) {
    const LONG: Duration = Duration::from_secs(30);
    let sandbox = Sandbox::new(SandboxOptions::new(dir.join("state")));
    println!("rootless: {}", sandbox.is_rootless());
    let script = "id -u; hostname; cat /etc/marker; echo written > /tmp/file; \
                  grep -c . /proc/self/status > /dev/null && echo proc; head -c 3 /dev/urandom | wc -c; \
                  exec httpd -f -p 8080 -h /etc";
    // A user number that does not exist inside becomes 0; a memory limit that cannot be set is left out.
    let spec = Spec { uid: 1000, gid: 1000, ..spec(dir, &["/bin/sh", "-c", script]) };
    let container = sandbox.start(spec).await.expect("a container");
    let check = Check::Http { port: 8080, path: "/marker".to_owned() };
    container.ready(Some(&check), LONG).await.expect("ready");
    print!("{}", String::from_utf8_lossy(&container.output_tail(1 << 16)));
    let look = "cat /tmp/file; id -u; hostname; grep NoNewPrivs /proc/self/status";
    let exec = ExecSpec::new(["/bin/sh", "-c", look].map(str::to_owned).to_vec());
    let done = container.exec(&exec).await.expect("a command");
    print!("{}", String::from_utf8_lossy(&done.stdout));
    let exit = container.stop(LONG).await.expect("an end");
    println!("{exit}");
}
