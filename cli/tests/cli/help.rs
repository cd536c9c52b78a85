//! Help, completion, doctor, and readers that go away.

use std::process::Command;

use crate::cluster::{Cluster, directory};
use crate::run::{Run, binary, ft};

/// Every command, and whether its help has an example.
const COMMANDS: [(&[&str], bool); 29] = [
    (&[], true),
    (&["demo"], true),
    (&["manager"], true),
    (&["worker"], true),
    (&["seed"], true),
    (&["provision"], true),
    (&["ps"], false),
    (&["exec"], true),
    (&["reclaim"], true),
    (&["function"], false),
    (&["function", "ls"], false),
    (&["function", "show"], false),
    (&["function", "rm"], false),
    (&["vm", "ls"], false),
    (&["vm", "drain"], false),
    (&["vm", "token"], false),
    (&["tree", "show"], false),
    (&["image"], false),
    (&["image", "inspect"], false),
    (&["image", "verify"], false),
    (&["image", "materialize"], false),
    (&["gc"], false),
    (&["bench"], false),
    (&["bench", "cluster"], true),
    (&["fuzz"], true),
    (&["bench", "demand"], true),
    (&["bench", "start"], true),
    (&["doctor"], false),
    (&["completion"], true),
];

#[test]
fn every_command_explains_itself() {
    for (command, example) in COMMANDS {
        let run = Run::of(ft(command).arg("--help")).ok();
        assert!(run.stderr.is_empty() && run.stdout.contains("Usage: ft"), "{run:?}");
        assert!(run.stdout.lines().next().is_some_and(|line| line.len() >= 8), "{run:?}");
        assert_eq!(run.stdout.contains("Example"), example, "{run:?}");
        // Every flag and argument says what it is.
        for line in run.stdout.lines().filter(|line| line.trim_start().starts_with("--")) {
            assert!(line.starts_with("      --"), "{line:?} in {run:?}");
        }
    }
    let listed = Run::of(&mut ft(&["help"])).ok().stdout;
    for name in COMMANDS.iter().filter_map(|(command, _)| command.first()) {
        assert!(listed.lines().any(|line| line.trim_start().starts_with(name)), "{name} in {listed}");
    }
}

#[test]
fn completions_are_scripts_of_their_shells() {
    let script = |shell| Run::of(&mut ft(&["completion", shell])).ok().stdout;
    let dir = directory();
    let file = dir.path().join("ft.bash");
    std::fs::write(&file, script("bash")).expect("a file");
    let loads = "source \"$0\" && complete -p ft";
    Run::of(Command::new("bash").arg("-n").arg(&file)).ok();
    Run::of(Command::new("bash").args(["-c", loads]).arg(&file)).ok();
    assert!(script("zsh").starts_with("#compdef ft"));
    assert!(
        script("fish").lines().any(|line| line.starts_with("complete -c ft ") && line.contains("provision"))
    );
    Run::of(&mut ft(&["completion", "csh"])).fails(2, "csh");
}

#[test]
fn doctor_tells_people_and_programs_the_same() {
    let text = Run::of(&mut ft(&["doctor"])).ok();
    let rows = Run::of(&mut ft(&["doctor", "-o", "json"])).ok().json();
    let rows = rows.as_array().expect("a list");
    for name in ["kernel", "root", "FUSE", "EROFS", "overlayfs", "runc", "memory limits", "ports", "clock"] {
        let row =
            rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}: {rows:?}"));
        let state = row["state"].as_str().expect("a state");
        assert!(["good", "limited", "missing"].contains(&state), "{row}");
        assert_eq!(row["cure"].is_string(), state != "good", "{row}");
        let line = text.stdout.lines().find(|line| line.starts_with(name)).expect("a line");
        assert!(
            line.contains(row["detail"].as_str().expect("a finding")) || name == "clock" || name == "EROFS",
            "{line}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let cluster = Cluster::start(&[]);
    let into = |args: &str, reader: &str| {
        let script = format!("{} {args} | {reader}", binary().display());
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", &script]).env("FT_CREDENTIAL", cluster.credential());
        Run::of(&mut command)
    };
    for args in
        ["ps", "vm ls", "function ls -o json", "completion bash", "doctor", "--help", "provision --help"]
    {
        for reader in ["head -n 1", "true"] {
            let run = into(args, reader).ok();
            assert!(run.stderr.is_empty(), "ft {args}: {run:?}");
        }
    }
}
