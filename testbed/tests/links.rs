//! The links of a testbed carry what they should and no more. Needs root.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use ft_testbed::{Options, Rate, Testbed};

fn testbed(hosts: usize, rate: Rate) -> Testbed {
    Testbed::create(&Options { hosts, rate: Some(rate) })
        .expect("a testbed (needs root and Debian's iproute2: run `cargo xtask test`)")
}

/// Runs `work` on a thread that has entered the host.
fn on<T: Send>(host: &ft_testbed::Host, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            host.enter().expect("root may join a namespace");
            work()
        });
        thread.join().expect("the thread does not panic")
    })
}

#[test]
fn a_transfer_takes_what_the_rate_says_and_namespaces_go_away() {
    let rate = Rate::from_mbit(100);
    let bed = testbed(2, rate);
    let names: Vec<_> = bed.hosts().iter().map(|host| host.namespace().to_owned()).collect();
    let address = SocketAddr::new(bed.hosts()[0].ip(), 7000);
    let listener = on(&bed.hosts()[0], || TcpListener::bind(address).unwrap());
    let sink = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        stream.write_all(b"!").unwrap();
    });
    let bytes = vec![0u8; 8 << 20];
    let mut stream =
        on(&bed.hosts()[1], || TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap());
    let start = Instant::now();
    stream.write_all(&bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    sink.join().unwrap();
    let bound = bytes.len() as f64 / rate.bytes() as f64;
    assert!(seconds > 0.9 * bound, "8 MiB took {seconds:.3} s; the rate allows {bound:.3} s");
    let sent = bed.link_bytes(1).unwrap().sent;
    assert!(sent > bytes.len() as u64, "the link counted {sent} bytes");

    bed.set_rate(1, None).unwrap();
    bed.set_rate(1, None).unwrap();
    drop(bed);
    let left = Command::new("ip").args(["netns", "list"]).output().unwrap().stdout;
    let left = String::from_utf8(left).unwrap();
    assert!(names.iter().all(|name| !left.contains(name)), "left behind: {left}");
}

#[test]
fn a_cut_link_carries_nothing_until_it_is_mended() {
    let bed = testbed(2, Rate::from_mbit(100));
    let address = SocketAddr::new(bed.hosts()[0].ip(), 7001);
    let _listener = on(&bed.hosts()[0], || TcpListener::bind(address).unwrap());
    let connect = || on(&bed.hosts()[1], || TcpStream::connect_timeout(&address, Duration::from_millis(500)));
    bed.set_link(0, false).unwrap();
    assert!(connect().is_err(), "connected over a cut link");
    bed.set_link(0, true).unwrap();
    let mended = (0..20).any(|_| connect().is_ok());
    assert!(mended, "no connection after mending");
}

#[test]
fn what_a_thread_mounts_for_itself_nobody_else_sees() {
    let dir = tempfile::tempdir().unwrap();
    let visible = |table: &str| {
        let table = std::fs::read_to_string(table).unwrap();
        table.lines().any(|line| line.contains(dir.path().to_str().unwrap()))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ft_testbed::own_mounts().expect("root may have mounts of its own");
            ft_testbed::mount_memory(dir.path(), 1 << 20).unwrap();
            std::fs::write(dir.path().join("file"), [7; 4096]).unwrap();
            assert!(visible("/proc/thread-self/mountinfo") && !visible("/proc/self/mountinfo"));
        });
    });
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
