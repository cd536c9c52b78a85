//! `ft bench`: its figures are there and make sense. How good they are is for a quiet machine to say.

use serde_json::Value;

use crate::cluster::turn;
use crate::host;
use crate::run::{Run, ft};

fn bench(flags: &[&str]) -> Value {
    let _turn = turn();
    let line =
        [&["bench", "cluster", "--size", "8MiB", "--runs", "1", "--rate", "50mbit", "-o", "json"], flags];
    let report = Run::of(&mut ft(&line.concat())).ok().json();
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
fn mistakes_are_told_before_anything_is_made() {
    Run::of(&mut ft(&["bench", "cluster", "--rate", "fast"])).fails(2, "200mbit");
    Run::of(&mut ft(&["bench", "cluster", "--kill", "1", "--slow"])).fails(2, "cannot be used with");
    Run::of(&mut ft(&["bench", "cluster", "--size", "4TB"])).fails(2, "there is room for");
}
