//! Where settings come from: flags, `FT_*` variables, the file of `--config`.

use std::path::PathBuf;

use crate::cluster::{Cluster, directory};
use crate::run::{Run, ft};

#[test]
fn flags_win_over_variables_and_these_over_the_file() {
    let cluster = Cluster::start(&[]);
    let nowhere = directory();
    let state = cluster.manager_dir();
    let config = |dir: &PathBuf| {
        let file = cluster.dir.path().join("ft.toml");
        let text = format!("[gc]\ngrace = \"0s\"\ndry-run = true\nstate-dir = {dir:?}\n");
        std::fs::write(&file, text).expect("a file");
        file
    };
    let wrong = nowhere.path().join("wrong");

    let run = Run::of(ft(&["gc", "--config"]).arg(config(&state))).ok();
    assert!(run.stdout.starts_with("would forget"), "{run:?}");
    Run::of(ft(&["gc"]).env("FT_CONFIG", config(&wrong))).fails(3, "wrong");
    Run::of(ft(&["gc"]).env("FT_CONFIG", config(&wrong)).env("FT_MANAGER_STATE_DIR", &state)).ok();
    Run::of(ft(&["gc"]).env("FT_CONFIG", config(&state)).env("FT_MANAGER_STATE_DIR", &wrong))
        .fails(3, "wrong");
    let mut flag = ft(&["gc", "--state-dir"]);
    flag.arg(&state).env("FT_CONFIG", config(&wrong)).env("FT_MANAGER_STATE_DIR", &wrong);
    Run::of(&mut flag).ok();
}

#[test]
fn variables_choose_the_credential_and_the_output() {
    let cluster = Cluster::start(&[]);
    let run =
        Run::of(ft(&["vm", "ls"]).env("FT_CREDENTIAL", cluster.credential()).env("FT_OUTPUT", "json")).ok();
    assert_eq!(run.json(), serde_json::json!([]));
    Run::of(ft(&["vm", "ls"]).env("FT_OUTPUT", "xml")).fails(2, "xml");
    Run::of(ft(&["worker"]).env("FT_RUNTIME", "qemu")).fails(2, "qemu");
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let dir = directory();
    let file = dir.path().join("ft.toml");
    Run::of(ft(&["doctor", "--config"]).arg(&file)).fails(2, "ft.toml");
    for (text, word) in [("[worker", "ft.toml"), ("[wörker]\n", "wörker"), ("[demo]\nvims = 3\n", "--vims")]
    {
        std::fs::write(&file, text).expect("a file");
        let run = Run::of(ft(&["doctor", "--config"]).arg(&file)).fails(2, word);
        assert!(run.stderr.contains("ft.toml"), "{run:?}");
    }
    std::fs::write(&file, "[demo]\nvms = 0\n").expect("a file");
    Run::of(ft(&["demo", "--config"]).arg(&file)).fails(2, "--vms");
}
