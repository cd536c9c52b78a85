//! `ft bench`: its figures are there and make sense. How good they are is for a quiet machine to say.

use serde_json::Value;

use crate::cluster::turn;
use crate::host;
use crate::run::{Run, ft};

fn bench(flags: &[&str]) -> Value {
    run(&[&["bench", "cluster", "--size", "8MiB", "--runs", "1", "--rate", "50mbit"], flags].concat())
}

fn run(line: &[&str]) -> Value {
    let _turn = turn();
    let report = Run::of(&mut ft(&[line, &["-o", "json"]].concat())).ok().json();
    let beds = host::testbeds_of_nobody();
    assert!(beds.is_empty(), "left: {beds:?}");
    report
}

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn a_cluster_gets_the_image_once_from_the_origin_and_says_how_fast() {
    let report = bench(&["--vms", "3"]);
    // No scheme beats the bound; less would mean that something was not counted.
    assert!(number(&report, "t_over_bound") >= 1.0, "{report}");
    assert!(number(&report, "median_over_bound") <= number(&report, "t_over_bound"), "{report}");
    assert!((0.99..1.25).contains(&number(&report, "origin_bytes_over_image")), "{report}");
    assert!(
        number(&report, "origin_link_over_image") > number(&report, "origin_bytes_over_image"),
        "{report}"
    );
    assert_eq!(number(&report, "failed"), 0.0, "{report}");
    assert!(number(&report, "stored_bytes") >= f64::from(8 << 20), "{report}");
    for name in ["cpu_s_per_gb", "rss_peak_mb", "cpu_busy_percent", "ready_last_ms"] {
        assert!(number(&report, name) > 0.0, "{name} in {report}");
    }
    assert_eq!(report["runs"].as_array().map(Vec::len), Some(1), "{report}");
}

#[test]
fn killed_workers_count_apart_and_nobody_else_fails() {
    let report = bench(&["--vms", "4", "--kill", "1"]);
    assert_eq!(number(&report["fault_median"], "failed"), 0.0, "{report}");
    assert!(number(&report["fault_median"], "t_over_bound") >= 1.0, "{report}");
    assert!(number(&report, "t_over_undisturbed") > 0.0, "{report}");
    assert_eq!(report["fault_runs"].as_array().map(Vec::len), Some(1), "{report}");
}

#[test]
fn a_worker_that_is_started_again_fetches_only_the_rest() {
    let report = bench(&["--vms", "4", "--restart"]);
    assert_eq!(number(&report["fault_median"], "failed"), 0.0, "{report}");
    let again = number(&report["fault_median"], "refetched_over_image");
    assert!(again > 0.0 && again < 0.9, "{report}");
    assert!(number(&report["fault_median"], "struck_over_bound") > 0.0, "{report}");
}

#[test]
fn rivals_move_the_same_bytes_over_the_same_links() {
    let report = bench(&["--vms", "3", "--peers"]);
    let peers = report["peers"].as_array().expect("a list");
    let names: Vec<_> = peers.iter().map(|peer| peer["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["plain pull", "BitTorrent", "chain"]);
    for peer in peers {
        assert!(number(peer, "t_over_bound") >= 1.0, "{peer}");
        assert!(number(peer, "cpu_s_per_gb") > 0.0, "{peer}");
    }
    // The origin's link carries the image to each of them.
    assert!(number(&peers[0], "t_over_bound") >= 3.0, "{report}");
}

/// The VM behind the link would take a hundred times as long.
#[test]
fn rivals_have_the_same_slow_link_and_do_not_wait_for_it() {
    let report = bench(&["--vms", "3", "--throttle-child", "--peers"]);
    let peers = report["peers"].as_array().expect("a list");
    assert_eq!(peers.len(), 3, "{report}");
    for peer in peers {
        assert!((1.0..50.0).contains(&number(peer, "t_over_bound")), "{peer}");
        let ours = number(&report["fault_median"], "seconds");
        let ratio = number(peer, "seconds") / ours;
        assert!((number(peer, "t_over_ours") - ratio).abs() < 1e-6, "{report}");
    }
}

#[test]
fn demanded_blocks_overtake_pushes_over_every_hop() {
    let flags = ["--hops", "2", "--size", "64MiB", "--rate", "50mbit", "--count", "5"];
    let report = run(&[&["bench", "demand"], &flags[..]].concat());
    assert_eq!(number(&report, "count"), 5.0, "{report}");
    // Two hops of 512 KiB at 50 Mbit/s.
    assert!((167.0..169.0).contains(&number(&report, "wire_ms")), "{report}");
    assert!(number(&report, "p50_over_wire") >= 0.9, "{report}");
    assert!(number(&report, "p99_ms") >= number(&report, "p50_ms"), "{report}");
}

#[test]
fn the_second_start_waits_for_fewer_blocks_than_the_first() {
    let report = run(&["bench", "start", "--vms", "2", "--size", "32MiB", "--rate", "50mbit", "--runs", "1"]);
    let rows = report["rows"].as_array().expect("a list");
    let names: Vec<_> = rows.iter().map(|row| row["start"].as_str().expect("a name")).collect();
    assert_eq!(names, ["first", "one", "one_stored", "many", "many_stored", "many_first"]);
    let row = |name| rows.iter().find(|row| row["start"] == name).expect("a row");
    for name in ["first", "many_first"] {
        assert_eq!(number(row(name), "profile_blocks"), 0.0, "{report}");
        assert!(number(row(name), "missed_per_vm") >= 8.0, "{report}");
        assert!(number(row(name), "waits_per_vm") >= 8.0, "{report}");
    }
    for name in ["one", "many"] {
        assert!(number(row(name), "profile_blocks") >= 8.0, "{report}");
        assert_eq!(number(row(name), "missed_per_vm"), 0.0, "{report}");
    }
    assert!(number(row("one"), "waits_per_vm") < number(row("first"), "waits_per_vm"), "{report}");
    assert!(number(row("many"), "waits_per_vm") < number(row("many_first"), "waits_per_vm"), "{report}");
    for name in ["one_stored", "many_stored"] {
        // What is stored is not waited for; read-ahead may have fetched a little more.
        assert_eq!(number(row(name), "waits_per_vm"), 0.0, "{report}");
    }
    for name in ["first", "one", "many", "many_first"] {
        // Two VMs read the origin each for itself; read-ahead may fetch in vain.
        assert!((0.95..4.0).contains(&number(row(name), "origin_over_touched")), "{report}");
        assert!(number(row(name), "ready_ms") >= number(row(name), "mounted_ms"), "{report}");
    }
    assert!(number(&report, "ready_over_one") > 0.0, "{report}");
}

#[test]
fn mistakes_are_told_before_anything_is_made() {
    Run::of(&mut ft(&["bench", "cluster", "--rate", "fast"])).fails(2, "200mbit");
    Run::of(&mut ft(&["bench", "cluster", "--kill", "1", "--slow"])).fails(2, "cannot be used with");
    Run::of(&mut ft(&["bench", "cluster", "--size", "4TB"])).fails(2, "there is room for");
    Run::of(&mut ft(&["bench", "cluster", "--size", "0"])).fails(2, "--size 64MiB");
    Run::of(&mut ft(&["bench", "cluster", "--vms", "7", "--kill", "7"])).fails(2, "needs at least 8");
    Run::of(&mut ft(&["bench", "cluster", "--vms", "1", "--throttle-child"])).fails(2, "needs at least 2");
    Run::of(&mut ft(&["bench", "cluster", "--vms", "2", "--slow"])).fails(2, "needs at least 3");
}
