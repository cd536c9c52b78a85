//! What a directory's processes may have left on this host.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ft_core::BlockId;

/// Nothing of what ran with its state in `dir` is left, but perhaps `dir` itself.
pub(crate) fn assert_nothing_of(dir: &Path, workers: &[PathBuf]) {
    assert_eq!(mounts_below(dir), Vec::<String>::new(), "left mounted");
    assert_eq!(processes_naming(dir), Vec::<String>::new(), "left running");
    assert_eq!(cgroups_of(workers), Vec::<PathBuf>::new(), "left cgroups");
}

/// The mount points below `dir`.
pub(crate) fn mounts_below(dir: &Path) -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point).starts_with(dir)).map(str::to_owned).collect()
}

/// The command lines of processes that name `dir`.
pub(crate) fn processes_naming(dir: &Path) -> Vec<String> {
    let name = dir.to_str().expect("a directory of ours");
    let entries = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    // One that ends meanwhile has no command line any more.
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(name)).collect()
}

/// The cgroups of containers of workers with these state directories. Their names begin with a digest of where
/// the runtime keeps its state.
fn cgroups_of(workers: &[PathBuf]) -> Vec<PathBuf> {
    let runtimes = ["runc", "sandbox"].map(|name| Path::new("runtime").join(name));
    let owners: Vec<String> = workers
        .iter()
        .flat_map(|worker| runtimes.iter().map(|runtime| worker.join(runtime)))
        .map(|state| format!("ft-{}-", &BlockId::of(state.as_os_str().as_encoded_bytes()).to_string()[..8]))
        .collect();
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        let entries = entries.filter_map(Result::ok);
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if owners.iter().any(|owner| name.starts_with(owner)) {
                found.push(entry.path());
            }
            todo.push(entry.path());
        }
    }
    found
}

/// The named network namespaces, without those of testbeds, which may run at the same time.
pub(crate) fn network_namespaces() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.starts_with("ftbed-")).collect()
}

/// The network namespaces of testbeds whose process has ended.
pub(crate) fn testbeds_of_nobody() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let owner = |name: &str| Some(name.strip_prefix("ftbed-")?.split('-').next()?.to_owned());
    names.filter(|name| owner(name).is_some_and(|pid| !Path::new("/proc").join(pid).exists())).collect()
}
