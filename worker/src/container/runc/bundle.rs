//! The container's `config.json` (OCI runtime specification 1.0.2).

use std::path::Path;

use serde_json::{Value, json};

use super::cgroups;
use crate::container::limits::{CAPABILITIES, MASKED_PATHS, READONLY_PATHS, shared_files};
use crate::container::{Network, Spec};

/// The configuration for `spec`. `state` is runc's own directory.
pub(super) fn config(spec: &Spec, state: &Path) -> Value {
    let capabilities: Vec<&str> = CAPABILITIES.iter().map(|(name, _)| *name).collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": spec.uid, "gid": spec.gid },
            "args": spec.args,
            "env": spec.env,
            "cwd": spec.cwd,
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "root": { "path": spec.rootfs, "readonly": false },
        "hostname": spec.hostname,
        "mounts": mounts(spec.network),
        "linux": {
            "namespaces": namespaces(spec.network),
            "resources": resources(spec.memory_bytes),
            "cgroupsPath": cgroups::path_of(state, &spec.id),
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READONLY_PATHS,
        },
    })
}

fn mounts(network: Network) -> Value {
    let mount = |kind: &str, at: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    let hardened = ["nosuid", "noexec", "nodev"];
    let mut all = vec![
        mount("proc", "/proc", &hardened),
        mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("mqueue", "/dev/mqueue", &hardened),
        mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    let bound = ["bind", "ro", "nosuid", "noexec", "nodev"];
    all.extend(
        shared_files(network)
            .map(|path| json!({ "destination": path, "type": "bind", "source": path, "options": bound })),
    );
    all.into()
}

/// Without a path, each is a new one; in a new network namespace runc sets the loopback interface up.
fn namespaces(network: Network) -> Value {
    let mut kinds = vec!["pid", "ipc", "uts", "mount"];
    if network == Network::Isolated {
        kinds.push("network");
    }
    kinds.into_iter().map(|kind| json!({ "type": kind })).collect()
}

/// All devices are denied; runc itself allows those of its minimal `/dev`.
fn resources(memory_bytes: Option<u64>) -> Value {
    let mut resources = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    if let (Some(bytes), Some(map)) = (memory_bytes, resources.as_object_mut()) {
        map.insert("memory".to_owned(), json!({ "limit": bytes }));
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::spec::tests::valid;

    fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
        value.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing"))
    }

    #[test]
    fn the_specification_is_carried_over() {
        let spec = Spec { uid: 7, gid: 8, memory_bytes: Some(1 << 30), ..valid() };
        let config = config(&spec, Path::new("/run/a"));
        assert_eq!(at(&config, "/process/args"), &json!(["sh"]));
        assert_eq!(at(&config, "/process/user"), &json!({ "uid": 7, "gid": 8 }));
        assert_eq!(at(&config, "/process/noNewPrivileges"), &json!(true));
        assert_eq!(at(&config, "/root/path"), &json!("/root/fs"));
        assert_eq!(at(&config, "/linux/resources/memory/limit"), &json!(1 << 30));
        let cgroup = |state| cgroups::path_of(Path::new(state), "c-1");
        assert_eq!(at(&config, "/linux/cgroupsPath"), &json!(cgroup("/run/a")));
        assert_ne!(
            cgroup("/run/a"),
            cgroup("/run/b"),
            "two workers on a host may have the same container id"
        );
    }

    #[test]
    fn the_network_is_isolated_unless_it_is_the_hosts() {
        let has_network = |network| {
            let config = config(&Spec { network, ..valid() }, Path::new("/run/a"));
            at(&config, "/linux/namespaces").as_array().unwrap().contains(&json!({ "type": "network" }))
        };
        assert!(has_network(Network::Isolated));
        assert!(!has_network(Network::Host));
    }

    #[test]
    fn no_capability_allows_mounting_or_tracing() {
        let config = config(&valid(), Path::new("/run/a"));
        let text = at(&config, "/process/capabilities").to_string();
        for forbidden in ["SYS_ADMIN", "SYS_PTRACE", "MKNOD", "NET_ADMIN", "NET_RAW", "SYS_MODULE"] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
    }
}
