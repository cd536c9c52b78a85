//! One suite for both runtimes, on real containers. Needs root, runc and busybox.
#![allow(clippy::unwrap_used, reason = "tests")]

mod container_support;
mod mount_support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use container_support::{Kind, LONG, alive, eventually, left_over, output, run, runtime, script, spec};
use ft_worker::container::{
    Check, ContainerError, ExecSpec, Network, NotReady, OUTPUT_LIMIT, Runtime, RuntimeChoice, Spec, State,
    choose, probe,
};
use mount_support::Area;

/// Makes one test for each runtime of `async fn(&dyn Runtime, &Area)`, and checks that nothing is left.
macro_rules! for_both {
    ($($name:ident)*) => {
        mod with_runc {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let area = super::Area::new();
                super::$name(&*super::runtime(super::Kind::Runc, &area), &area).await;
                super::nothing_is_left(&area).await;
            })*
        }
        mod with_sandbox {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let area = super::Area::new();
                super::$name(&*super::runtime(super::Kind::Sandbox, &area), &area).await;
                super::nothing_is_left(&area).await;
            })*
        }
    };
}

for_both! {
    exit_code_and_output
    environment_directory_and_user
    what_cannot_start_says_why
    commands_run_inside
    a_command_that_takes_too_long_is_killed
    a_command_that_cannot_start_says_why
    stopping_lets_the_process_end_by_itself
    stopping_kills_what_does_not_end
    dropping_kills
    without_a_check_living_or_ending_well_is_ready
    without_a_check_ending_badly_is_not_ready
    an_exec_check_is_polled
    ports_are_looked_at_inside
    a_check_that_never_passes_has_a_deadline
    ending_before_ready_is_noticed_at_once
    memory_is_limited
    output_is_bounded
    the_same_id_cannot_run_twice
    a_start_that_is_given_up_leaves_nothing
    many_start_and_end_at_once
    the_hosts_network_comes_with_its_names
}

async fn nothing_is_left(area: &Area) {
    eventually("everything is cleaned up", || left_over(area).is_empty()).await;
}

async fn exit_code_and_output(runtime: &dyn Runtime, area: &Area) {
    let (exit, output) = run(runtime, script(area, "echo out; echo err >&2; exit 7")).await;
    assert_eq!((exit.code, exit.out_of_memory), (7, false));
    // runc passes stdout and stderr on separately.
    let mut lines: Vec<_> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"]);
}

async fn environment_directory_and_user(runtime: &dyn Runtime, area: &Area) {
    let show = "pwd; echo $GREETING; id -u; id -g; id -G; hostname; cat /etc/marker; echo $HOME";
    let spec = Spec { uid: 1234, gid: 567, cwd: "/made/for it".to_owned(), ..script(area, show) };
    let (exit, output) = run(runtime, spec).await;
    assert_eq!(output, "/made/for it\nhello world\n1234\n567\n567\nfunction\nof the image\n/\n");
    assert_eq!(exit.code, 0);
}

async fn what_cannot_start_says_why(runtime: &dyn Runtime, area: &Area) {
    let error = runtime.start(spec(area, &["/bin/absent"])).await.unwrap_err();
    assert!(error.to_string().contains("/bin/absent"), "{error}");
    let missing = Spec { rootfs: "/nonexistent/rootfs".into(), ..script(area, "true") };
    let error = runtime.start(missing).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/rootfs"), "{error}");
    let invalid = Spec { id: "../up".into(), ..script(area, "true") };
    assert!(matches!(runtime.start(invalid).await, Err(ContainerError::Invalid { .. })));
}

async fn commands_run_inside(runtime: &dyn Runtime, area: &Area) {
    let container = runtime.start(script(area, "echo $$ > /tmp/pid; exec sleep 1000")).await.unwrap();
    let words = |command: &str| vec!["/bin/sh".to_owned(), "-c".to_owned(), command.to_owned()];
    let show = "echo $GREETING $MORE; pwd; id -u; hostname; cat /etc/marker; echo wrong >&2; exit 3";
    let command = ExecSpec { env: vec!["MORE=more".to_owned()], ..ExecSpec::new(words(show)) };
    let done = container.exec(&command).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "hello world more\n/tmp\n0\nfunction\nof the image\n");
    assert_eq!((done.code, done.stderr.as_slice(), done.truncated), (3, &b"wrong\n"[..], false));

    let elsewhere = ExecSpec {
        cwd: Some("/etc".to_owned()),
        user: Some((7, 8)),
        ..ExecSpec::new(words("pwd; id -u; id -g"))
    };
    assert_eq!(container.exec(&elsewhere).await.unwrap().stdout, b"/etc\n7\n8\n");

    // It is among the container's processes, with no more privileges than they have.
    let pid = area.path().join("rootfs/tmp/pid");
    eventually("the process has said its number", || fs::read(&pid).is_ok_and(|text| !text.is_empty())).await;
    let mut privileges = Vec::new();
    for process in ["self", "$(cat /tmp/pid)"] {
        let look = format!("grep -E 'NoNewPrivs|CapBnd|CapEff' /proc/{process}/status");
        privileges.push(container.exec(&ExecSpec::new(words(&look))).await.unwrap());
    }
    assert_eq!(privileges.first(), privileges.last());

    let input = vec![b'x'; 300_000];
    let reading = ExecSpec { stdin: input, ..ExecSpec::new(words("wc -c")) };
    assert_eq!(container.exec(&reading).await.unwrap().stdout, b"300000\n");
    let unfed = container.exec(&ExecSpec::new(words("wc -c"))).await.unwrap();
    assert_eq!(unfed.stdout, b"0\n");

    let chatty = ExecSpec { max_output: 10, ..ExecSpec::new(words("head -c 300000 /dev/zero")) };
    let cut = container.exec(&chatty).await.unwrap();
    assert_eq!((cut.stdout.len(), cut.truncated, cut.code), (10, true, 0));

    container.stop(Duration::ZERO).await.unwrap();
    assert!(matches!(container.exec(&command).await, Err(ContainerError::Ended { .. })));
}

async fn a_command_that_takes_too_long_is_killed(runtime: &dyn Runtime, area: &Area) {
    let container = runtime.start(spec(area, &["/bin/sleep", "1000"])).await.unwrap();
    let args = vec!["/bin/sleep".to_owned(), "777".to_owned()];
    let slow = ExecSpec { deadline: Duration::from_millis(500), ..ExecSpec::new(args) };
    let error = container.exec(&slow).await.unwrap_err();
    assert!(matches!(error, ContainerError::Deadline { .. }), "{error}");
    let ps = ExecSpec::new(vec!["/bin/ps".to_owned()]);
    let begun = Instant::now();
    loop {
        let processes = String::from_utf8(container.exec(&ps).await.unwrap().stdout).unwrap();
        assert!(processes.contains("sleep 1000"), "{processes}");
        if !processes.contains("sleep 777") {
            break;
        }
        assert!(begun.elapsed() < LONG, "{processes}");
    }
    container.stop(Duration::ZERO).await.unwrap();
}

async fn a_command_that_cannot_start_says_why(runtime: &dyn Runtime, area: &Area) {
    let container = runtime.start(spec(area, &["/bin/sleep", "1000"])).await.unwrap();
    let error = container.exec(&ExecSpec::new(vec!["/bin/absent".to_owned()])).await.unwrap_err();
    assert!(matches!(error, ContainerError::Exec { .. }), "{error:?}");
    assert!(error.to_string().contains("/bin/absent"), "{error}");
    container.stop(Duration::ZERO).await.unwrap();
}

async fn stopping_lets_the_process_end_by_itself(runtime: &dyn Runtime, area: &Area) {
    let waits = "trap 'echo bye; exit 5' TERM; echo up; while true; do sleep 0.1; done";
    let container = runtime.start(script(area, waits)).await.unwrap();
    eventually("the trap is set", || output(&container) == "up\n").await;
    let exit = container.stop(LONG).await.unwrap();
    assert_eq!(exit.code, 5);
    assert_eq!(output(&container), "up\nbye\n");
    assert_eq!(container.exited(), Some(exit));
    assert_eq!(container.stop(LONG).await.unwrap(), exit, "stopping again");
}

async fn stopping_kills_what_does_not_end(runtime: &dyn Runtime, area: &Area) {
    let stubborn = "trap '' TERM; (while true; do sleep 1; done) & echo up; while true; do sleep 1; done";
    let container = runtime.start(script(area, stubborn)).await.unwrap();
    eventually("the trap is set", || output(&container) == "up\n").await;
    let init = container.init_pid();
    assert!(alive(init));
    let exit = container.stop(Duration::from_millis(100)).await.unwrap();
    assert_eq!(exit.code, 137);
    assert!(!alive(init));
}

async fn dropping_kills(runtime: &dyn Runtime, area: &Area) {
    let container = runtime.start(spec(area, &["/bin/sleep", "1000"])).await.unwrap();
    let init = container.init_pid();
    assert!(alive(init));
    drop(container);
    eventually("the container dies", || !alive(init)).await;
}

async fn without_a_check_living_or_ending_well_is_ready(runtime: &dyn Runtime, area: &Area) {
    let container = runtime.start(script(area, "true")).await.unwrap();
    container.ready(None, LONG).await.unwrap();
    container.wait().await;
    container.ready(None, LONG).await.unwrap();

    let container = runtime.start(spec(area, &["/bin/sleep", "1000"])).await.unwrap();
    container.ready(None, LONG).await.unwrap();
    assert!(container.started_at().elapsed() >= Duration::from_secs(1));
    assert_eq!(container.exited(), None);
    container.stop(Duration::ZERO).await.unwrap();
}

async fn without_a_check_ending_badly_is_not_ready(runtime: &dyn Runtime, area: &Area) {
    let container = runtime.start(script(area, "exit 4")).await.unwrap();
    let error = container.ready(None, LONG).await.unwrap_err();
    assert!(matches!(error, NotReady::Ended(exit) if exit.code == 4), "{error}");
}

async fn an_exec_check_is_polled(runtime: &dyn Runtime, area: &Area) {
    let container = runtime.start(script(area, "sleep 0.3; touch /tmp/up; sleep 1000")).await.unwrap();
    let check = Check::Exec { args: vec!["/bin/test".to_owned(), "-e".to_owned(), "/tmp/up".to_owned()] };
    container.ready(Some(&check), LONG).await.unwrap();
    assert!(area.path().join("rootfs/tmp/up").exists());
    container.stop(Duration::ZERO).await.unwrap();
}

async fn ports_are_looked_at_inside(runtime: &dyn Runtime, area: &Area) {
    let serve = "echo fine > /tmp/page; exec httpd -f -p 8080 -h /tmp";
    let container = runtime.start(script(area, serve)).await.unwrap();
    container.ready(Some(&Check::Tcp { port: 8080 }), LONG).await.unwrap();
    container.ready(Some(&Check::Http { port: 8080, path: "/page".to_owned() }), LONG).await.unwrap();
    let absent = Check::Http { port: 8080, path: "/absent".to_owned() };
    let error = container.ready(Some(&absent), Duration::from_secs(2)).await.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    container.stop(Duration::ZERO).await.unwrap();
}

async fn a_check_that_never_passes_has_a_deadline(runtime: &dyn Runtime, area: &Area) {
    let container = runtime.start(spec(area, &["/bin/sleep", "1000"])).await.unwrap();
    for check in [Check::Tcp { port: 1 }, Check::Exec { args: vec!["/bin/false".to_owned()] }] {
        let error = container.ready(Some(&check), Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, NotReady::Deadline { .. }), "{error}");
    }
    container.stop(Duration::ZERO).await.unwrap();
}

async fn ending_before_ready_is_noticed_at_once(runtime: &dyn Runtime, area: &Area) {
    let container = runtime.start(script(area, "sleep 0.2; exit 9")).await.unwrap();
    let error = container.ready(Some(&Check::Tcp { port: 1 }), LONG).await.unwrap_err();
    assert!(matches!(error, NotReady::Ended(exit) if exit.code == 9), "{error}");
}

async fn memory_is_limited(runtime: &dyn Runtime, area: &Area) {
    // `tail` keeps all of a line without an end.
    let hungry = "head -c 300000000 /dev/zero | tail -n 1 | wc -c; exit ${PIPESTATUS:-0}";
    let greedy = Spec { memory_bytes: Some(64 << 20), ..spec(area, &["/bin/sh", "-c", hungry]) };
    let container = runtime.start(greedy).await.unwrap();
    let exit = container.wait().await;
    // The shell survives, or it is the one that is killed: either way the bytes did not get through.
    assert_ne!(output(&container).trim(), "300000000", "{exit}");

    let alone = ["/bin/tail", "-n", "1", "/dev/zero"];
    let container = runtime.start(Spec { memory_bytes: Some(64 << 20), ..spec(area, &alone) }).await.unwrap();
    let exit = container.wait().await;
    assert_eq!((exit.code, exit.out_of_memory), (137, true), "{exit}");
}

async fn output_is_bounded(runtime: &dyn Runtime, area: &Area) {
    let (exit, output) = run(runtime, script(area, "head -c 5000000 /dev/zero; echo end")).await;
    assert_eq!(exit.code, 0);
    assert!(output.ends_with("\0end\n"));
    let kept: u64 = fs::read_dir(area.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("output"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(kept <= OUTPUT_LIMIT, "{kept}");
}

async fn the_same_id_cannot_run_twice(runtime: &dyn Runtime, area: &Area) {
    let limited = || Spec { memory_bytes: Some(64 << 20), ..spec(area, &["/bin/sleep", "1000"]) };
    let first = runtime.start(limited()).await.unwrap();
    let second = runtime.start(Spec { output: area.path().join("second"), ..limited() }).await;
    assert!(second.unwrap_err().to_string().contains(first.id()));
    assert_eq!(first.exited(), None, "the first is not disturbed");
    first.stop(Duration::ZERO).await.unwrap();
    // Once it has ended, its id is free.
    let third = runtime.start(limited()).await.unwrap();
    third.stop(Duration::ZERO).await.unwrap();
}

async fn a_start_that_is_given_up_leaves_nothing(runtime: &dyn Runtime, area: &Area) {
    for millis in [0, 1, 3, 10, 30, 100] {
        let limited = Spec { memory_bytes: Some(64 << 20), ..spec(area, &["/bin/sleep", "1000"]) };
        let start = tokio::time::timeout(Duration::from_millis(millis), runtime.start(limited));
        drop(start.await);
        nothing_is_left(area).await;
    }
    let limited = Spec { memory_bytes: Some(64 << 20), ..spec(area, &["/bin/absent"]) };
    runtime.start(limited).await.unwrap_err();
    assert_eq!(left_over(area), Vec::<PathBuf>::new(), "a start that fails cleans up first");
}

async fn the_hosts_network_comes_with_its_names(runtime: &dyn Runtime, area: &Area) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Ends with the test's process.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let show =
        format!("cat /etc/hosts; (echo x > /etc/hosts) 2>/dev/null || nc 127.0.0.1 {port} < /dev/null");
    let on_host = Spec { network: Network::Host, ..script(area, &show) };
    let (exit, output) = run(runtime, on_host).await;
    assert_eq!((exit.code, output), (0, fs::read_to_string("/etc/hosts").unwrap()));
    // By itself, it does not see the host's ports.
    let (exit, _) = run(runtime, script(area, &format!("nc 127.0.0.1 {port} < /dev/null"))).await;
    assert_eq!(exit.code, 1);
}

async fn many_start_and_end_at_once(runtime: &dyn Runtime, area: &Area) {
    const MANY: usize = 12;
    let one = |number: usize| {
        let spec = script(area, "echo $NUMBER; exit $NUMBER");
        let spec = Spec {
            id: format!("{}-{number}", spec.id),
            env: vec![format!("NUMBER={number}")],
            output: area.path().join(format!("output-{number}")),
            memory_bytes: Some(64 << 20),
            ..spec
        };
        async move {
            let (exit, output) = run(runtime, spec).await;
            assert_eq!((exit.code, output), (i32::try_from(number).unwrap(), format!("{number}\n")));
        }
    };
    futures_util::future::join_all((0..MANY).map(one)).await;
}

/// What a container sees of itself and of the host.
const VIEW: &str = "
    cd /
    hostname; id -u; id -g
    echo $HOME $PATH; umask
    grep -E 'Cap|NoNewPrivs' /proc/self/status
    ls /dev; ls /dev/pts /dev/shm
    echo x > /dev/null && echo null
    head -c 4 /dev/urandom | wc -c
    head -c 10 /dev/zero | wc -c
    grep -o '^ *[a-z0-9]*:' /proc/net/dev
    cat /proc/sys/kernel/ostype
    (echo hacked > /proc/sys/kernel/domainname) 2>/dev/null || echo sys-is-read-only
    (echo b > /proc/sysrq-trigger) 2>/dev/null || echo sysrq-is-read-only
    wc -c < /proc/keys
    ls /sys/firmware | wc -l
    (touch /sys/new) 2>/dev/null || echo sysfs-is-read-only
    mknod /tmp/device b 7 0 2>/dev/null || echo no-mknod
    mount -t tmpfs none /tmp 2>/dev/null || echo no-mount
    grep -v -E '^[^ ]+ (/|/(proc|dev|sys)(/[^ ]*)?) ' /proc/mounts
    ls /proc | grep -c -x -E '[0-9]+' | grep -x '[3-9]' | wc -l
    echo written > /etc/marker && cat /etc/marker
";

#[tokio::test(flavor = "multi_thread")]
async fn both_runtimes_give_the_same_container() {
    let mut views = Vec::new();
    for kind in [Kind::Runc, Kind::Sandbox] {
        let area = Area::new();
        let (_, view) = run(&*runtime(kind, &area), script(&area, VIEW)).await;
        views.push(view);
        nothing_is_left(&area).await;
    }
    let [runc, sandbox] = views.as_slice() else { panic!("two runtimes") };
    assert_eq!(runc, sandbox);
    let lines: Vec<&str> = runc.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("/home/of/root /usr/local/sbin")), "{lines:#?}");
    for sign in [
        "null",
        "sys-is-read-only",
        "sysrq-is-read-only",
        "sysfs-is-read-only",
        "no-mknod",
        "no-mount",
        "written",
    ] {
        assert!(lines.contains(&sign), "{sign} in {lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_chooses_what_works() {
    let area = Area::new();
    let helper = ft_worker::container::Helper::at(container_support::HELPER);
    let host = tokio::task::spawn_blocking({
        let helper = helper.clone();
        move || probe(Some(&helper))
    })
    .await
    .unwrap();
    assert!(host.root && host.can_mount(), "{host:#?}");
    for finding in &host.findings {
        assert_eq!(finding.cure.is_some(), finding.state != State::Good, "{finding:?}");
    }
    let auto = choose(RuntimeChoice::Auto, &host, area.path(), helper.clone()).unwrap();
    assert_eq!(auto.name(), "runc");
    let without = ft_worker::container::HostProbe { runc: None, ..host.clone() };
    assert_eq!(choose(RuntimeChoice::Auto, &without, area.path(), helper.clone()).unwrap().name(), "sandbox");
    let nothing = ft_worker::container::HostProbe { root: false, ..without };
    assert!(choose(RuntimeChoice::Auto, &nothing, area.path(), helper.clone()).is_err());
    assert!(choose(RuntimeChoice::Runc, &nothing, area.path(), helper).is_err());
    assert_eq!(area.mounted(), Vec::<PathBuf>::new());
}
