//! What only the built-in sandbox promises, with root. Needs busybox.
#![allow(clippy::unwrap_used, reason = "tests")]

mod container_support;
mod mount_support;

use std::fs;
use std::time::Duration;

use container_support::{Kind, LONG, alive, eventually, left_over, output, run, runtime, script, spec};
use ft_worker::container::{ExecSpec, Helper, Runtime as _, Sandbox, SandboxOptions, Spec};
use mount_support::Area;

#[tokio::test(flavor = "multi_thread")]
async fn the_process_is_not_pid_1_so_signals_have_their_usual_effect() {
    let area = Area::new();
    let sandbox = runtime(Kind::Sandbox, &area);
    let container = sandbox.start(spec(&area, &["/bin/sleep", "1000"])).await.unwrap();
    assert_eq!(container.stop(LONG).await.unwrap().code, 128 + 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_reaped() {
    let area = Area::new();
    let sandbox = runtime(Kind::Sandbox, &area);
    // Each subshell ends before its child, which PID 1 inherits.
    let orphans = "for n in 1 2 3 4 5; do (sleep 0.05 & echo $! >> /tmp/orphans); done; exec sleep 1000";
    let container = sandbox.start(script(&area, orphans)).await.unwrap();
    let file = area.path().join("rootfs/tmp/orphans");
    eventually("the orphans are there", || {
        fs::read_to_string(&file).unwrap_or_default().lines().count() == 5
    })
    .await;
    let count = ExecSpec::new(vec![
        "/bin/sh".into(),
        "-c".into(),
        "ls -d $(sed 's,^,/proc/,' /tmp/orphans) 2>/dev/null | wc -l".into(),
    ]);
    loop {
        let left = container.exec(&count).await.unwrap().stdout;
        if left == b"0\n" {
            break;
        }
        assert!(container.started_at().elapsed() < LONG, "{}", String::from_utf8_lossy(&left));
    }
    container.stop(Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_cannot_look_into_pid_1() {
    let area = Area::new();
    let look = "for f in exe cwd root fd/0; do ls /proc/1/$f/ >/dev/null 2>&1 && echo $f; done; \
                cat /proc/1/environ /proc/1/maps 2>/dev/null | wc -c; cat /proc/1/comm";
    let (_, seen) = run(&*runtime(Kind::Sandbox, &area), script(&area, look)).await;
    assert!(seen.starts_with("0\n"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_program_cannot_be_written_from_within() {
    let area = Area::new();
    let program = area.path().join("program");
    fs::copy(container_support::HELPER, &program).unwrap();
    let options = SandboxOptions { helper: Helper::at(&program), ..SandboxOptions::new(area.dir("state")) };
    let container = Sandbox::new(options).start(spec(&area, &["/bin/sleep", "1000"])).await.unwrap();
    // Not even the host's root can, by the way that processes of the container have. With O_TRUNC the kernel
    // looks at the mount before it sees that the program is running.
    let exe = format!("/proc/{}/exe", container.init_pid());
    let error = fs::OpenOptions::new().write(true).truncate(true).open(exe).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    container.stop(Duration::ZERO).await.unwrap();

    // A script whose interpreter is the program that starts it.
    let trick = "printf '#!/proc/self/exe\\n' > /tmp/trick; chmod 755 /tmp/trick; /tmp/trick; \
                 (echo x > /proc/1/exe) 2>/dev/null || echo refused";
    let options = SandboxOptions { helper: Helper::at(&program), ..SandboxOptions::new(area.dir("state")) };
    let sandbox = Sandbox::new(options);
    let (_, said) = run(&sandbox, script(&area, trick)).await;
    assert!(said.ends_with("refused\n"), "{said}");
    assert!(fs::read(&program).unwrap() == fs::read(container_support::HELPER).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_image_lead_nowhere_outside() {
    let area = Area::new();
    let outside = area.dir("outside");
    let hostile = |link: &str| {
        let spec = script(&area, "echo in > /tmp/ran");
        let at = spec.rootfs.join(link);
        fs::remove_dir_all(&at).ok();
        std::os::unix::fs::symlink(&outside, at).unwrap();
        spec
    };
    let sandbox = runtime(Kind::Sandbox, &area);
    for link in ["dev", "sys", "proc", "work"] {
        let spec = Spec { cwd: "/work/new".to_owned(), ..hostile(link) };
        // It may start or not: the link dangles inside.
        if let Ok(container) = sandbox.start(spec).await {
            container.wait().await;
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{link}");
        fs::remove_file(area.path().join("rootfs").join(link)).unwrap();
    }
    eventually("everything is cleaned up", || left_over(&area).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_supervisor_ends_the_container() {
    let area = Area::new();
    let sandbox = runtime(Kind::Sandbox, &area);
    let container = sandbox.start(script(&area, "trap '' TERM; echo up; sleep 1000")).await.unwrap();
    eventually("it runs", || output(&container) == "up\n").await;
    let init = container.init_pid();
    let status = fs::read_to_string(format!("/proc/{init}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
    let supervisor = rustix::process::Pid::from_raw(parent.parse().unwrap()).unwrap();
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
    let exit = tokio::time::timeout(LONG, container.wait()).await.unwrap();
    assert_eq!(exit.code, 137);
    eventually("PID 1 is gone", || !alive(init)).await;
}
