//! Memory limits for the sandbox's containers, through cgroups of version 1 or 2.
//!
//! Each container gets a cgroup below the worker's own. Version 2 lets a group limit its children only while it
//! holds no processes itself, so there the worker first moves into a leaf, if it is alone in its group (as it is
//! in a service unit with `Delegate=yes`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ft_core::BlockId;

use crate::mount::{MountEntry, mounts};

/// The leaf that a worker moves to under version 2.
const LEAF: &str = "ft-worker";
/// How long the processes of an ended container may linger in its group.
const REMOVAL: Duration = Duration::from_secs(2);

/// The name of a container's cgroup. `state` is its runtime's directory: container ids are unique within a
/// cluster only, and VMs of several clusters may share a host.
pub(super) fn name_of(state: &Path, id: &str) -> String {
    let owner = BlockId::of(state.as_os_str().as_encoded_bytes()).to_string();
    format!("ft-{}-{id}", &owner[..8])
}

/// Which kind of cgroup can limit memory here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// Where this process may make cgroups that limit memory.
#[derive(Debug, Clone)]
pub(super) struct Parent {
    version: Version,
    dir: PathBuf,
}

impl Parent {
    /// Finds this process's cgroup. Changes nothing.
    pub(super) fn find() -> io::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let table = mounts().map_err(io::Error::other)?;
        find_in(&own, &table).ok_or_else(|| io::Error::other("no cgroup here has the memory controller"))
    }

    /// Which version it is.
    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes sure that groups below this one can limit memory.
    pub(super) fn prepare(&self) -> io::Result<()> {
        if self.version == Version::V1 {
            return Ok(());
        }
        let control = self.dir.join("cgroup.subtree_control");
        if fs::read_to_string(&control)?.split_whitespace().any(|name| name == "memory") {
            return Ok(());
        }
        match fs::write(&control, "+memory") {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            other => return other,
        }
        let members = fs::read_to_string(self.dir.join("cgroup.procs"))?;
        let own = std::process::id().to_string();
        if members.lines().any(|pid| pid != own) {
            return Err(io::Error::other("the worker shares its cgroup with others; run it as a service"));
        }
        let leaf = self.dir.join(LEAF);
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::write(leaf.join("cgroup.procs"), own)?;
        fs::write(&control, "+memory")
    }

    /// Makes a group named `name` whose processes may use `bytes` of memory together, and no swap beyond.
    pub(super) fn limited(&self, name: &str, bytes: u64) -> io::Result<Group> {
        let dir = self.dir.join(name);
        fs::create_dir(&dir)?;
        let group = Group { version: self.version, dir };
        let bytes = bytes.to_string();
        match self.version {
            Version::V1 => {
                fs::write(group.dir.join("memory.limit_in_bytes"), &bytes)?;
                // Absent where the kernel does not count swap.
                let _no_swap_accounting = fs::write(group.dir.join("memory.memsw.limit_in_bytes"), &bytes);
            }
            Version::V2 => {
                fs::write(group.dir.join("memory.max"), &bytes)?;
                let _no_swap_accounting = fs::write(group.dir.join("memory.swap.max"), "0");
            }
        }
        Ok(group)
    }
}

/// One container's cgroup, removed when dropped (and empty by then).
#[derive(Debug)]
pub(super) struct Group {
    version: Version,
    dir: PathBuf,
}

impl Group {
    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Moves a process into it; its future children come with it.
    pub(super) fn add(&self, pid: u32) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.procs"), pid.to_string())
    }

    /// Whether a process of it was killed because the memory did not suffice.
    pub(super) fn out_of_memory(&self) -> bool {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let text = fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
    }

    /// Removes it, once the processes in it are gone.
    pub(super) async fn remove(self) {
        // What cannot be removed yet is tried once more, and reported, when `self` is dropped.
        let _in_use = remove_when_empty(&self.dir).await;
    }
}

/// Removes the cgroup `dir`, if it is there, as soon as the processes in it are gone; gives up after 2 s.
pub(super) async fn remove_when_empty(dir: &Path) -> io::Result<()> {
    let deadline = tokio::time::Instant::now() + REMOVAL;
    loop {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() != io::ErrorKind::ResourceBusy || tokio::time::Instant::now() >= deadline =>
            {
                return Err(error);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            Ok(()) => return Ok(()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        match fs::remove_dir(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, dir = %self.dir.display(), "a cgroup is left behind");
            }
            _ => {}
        }
    }
}

/// `own` is `/proc/self/cgroup`: lines of `number:controllers:path`, number 0 for version 2.
fn find_in(own: &str, table: &[MountEntry]) -> Option<Parent> {
    let memory_v1 = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        controllers.split(',').any(|name| name == "memory").then(|| fields.next())?
    });
    if let Some(path) = memory_v1 {
        let mount = table.iter().find(|entry| {
            entry.fs == "cgroup" && entry.options.split(',').any(|option| option == "memory")
        })?;
        return Some(Parent { version: Version::V1, dir: place(mount, path)? });
    }
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let dir = place(table.iter().find(|entry| entry.fs == "cgroup2")?, path)?;
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).ok()?;
    let memory = controllers.split_whitespace().any(|name| name == "memory");
    memory.then_some(Parent { version: Version::V2, dir })
}

/// Where the group `path` shows in the file tree, given a mount of its hierarchy.
fn place(mount: &MountEntry, path: &str) -> Option<PathBuf> {
    let below = Path::new(path).strip_prefix(&mount.root).ok()?;
    Some(mount.at.join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fs: &str, at: &str, root: &str, options: &str) -> MountEntry {
        MountEntry {
            at: at.into(),
            fs: fs.into(),
            source: fs.into(),
            root: root.into(),
            shared: false,
            options: options.into(),
        }
    }

    #[test]
    fn version_1_by_its_memory_hierarchy() {
        let own = "9:name=systemd:/x\n4:cpu,memory:/jobs/7\n0::/\n";
        let table = [
            entry("cgroup", "/sys/fs/cgroup/cpuset", "/", "rw,cpuset"),
            entry("cgroup", "/sys/fs/cgroup/memory", "/", "rw,memory"),
        ];
        let parent = find_in(own, &table).unwrap();
        assert_eq!(
            (parent.version, parent.dir.as_path()),
            (Version::V1, Path::new("/sys/fs/cgroup/memory/jobs/7"))
        );
        // In a container, the mount shows only the container's part.
        let part = [entry("cgroup", "/cg", "/jobs", "rw,memory")];
        assert_eq!(find_in(own, &part).unwrap().dir, Path::new("/cg/7"));
        let elsewhere = [entry("cgroup", "/cg", "/other", "rw,memory")];
        assert!(find_in(own, &elsewhere).is_none());
    }

    #[test]
    fn version_2_if_it_has_the_memory_controller() {
        let dir = tempfile::tempdir().unwrap();
        let table = [entry("cgroup2", dir.path().to_str().unwrap(), "/", "rw")];
        fs::create_dir(dir.path().join("unit")).unwrap();
        let controllers = dir.path().join("unit/cgroup.controllers");
        fs::write(&controllers, "cpu pids\n").unwrap();
        assert!(find_in("0::/unit\n", &table).is_none());
        fs::write(&controllers, "cpu memory pids\n").unwrap();
        let parent = find_in("0::/unit\n", &table).unwrap();
        assert_eq!((parent.version, parent.dir), (Version::V2, dir.path().join("unit")));
    }

    #[test]
    fn kills_are_counted_in_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        let killed = |version, file: &str, text: &str| {
            fs::write(dir.path().join(file), text).unwrap();
            let group = Group { version, dir: dir.path().to_owned() };
            let killed = group.out_of_memory();
            std::mem::forget(group); // it is no cgroup to remove
            killed
        };
        assert!(!killed(Version::V1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"));
        assert!(killed(Version::V1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"));
        assert!(!killed(Version::V2, "memory.events", "oom 3\noom_kill 0\noom_group_kill 0\n"));
        assert!(killed(Version::V2, "memory.events", "oom 3\noom_kill 1\n"));
    }
}
