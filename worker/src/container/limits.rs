//! What a container may do and see, the same in both runtimes.

use std::path::Path;

use rustix::thread::CapabilitySet;

use super::Network;

/// The capabilities of a container's root, by the names that OCI uses: what ordinary programs of a distribution
/// need to own files and change users in their own root file system. No mounting, no device nodes, no raw
/// sockets, no tracing of others.
pub(super) const CAPABILITIES: [(&str, CapabilitySet); 11] = [
    ("CAP_CHOWN", CapabilitySet::CHOWN),
    ("CAP_DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE),
    ("CAP_FOWNER", CapabilitySet::FOWNER),
    ("CAP_FSETID", CapabilitySet::FSETID),
    ("CAP_KILL", CapabilitySet::KILL),
    ("CAP_SETGID", CapabilitySet::SETGID),
    ("CAP_SETUID", CapabilitySet::SETUID),
    ("CAP_SETPCAP", CapabilitySet::SETPCAP),
    ("CAP_NET_BIND_SERVICE", CapabilitySet::NET_BIND_SERVICE),
    ("CAP_SYS_CHROOT", CapabilitySet::SYS_CHROOT),
    ("CAP_SETFCAP", CapabilitySet::SETFCAP),
];

/// Files and directories of `/proc` and `/sys` that tell about the host, hidden.
pub(super) const MASKED_PATHS: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
];

/// Those that change the host, read-only.
pub(super) const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a container on the host's network needs to find names as the host does.
const NAME_FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// The host's files that show, read-only, in place of the image's.
pub(super) fn shared_files(network: Network) -> impl Iterator<Item = &'static Path> {
    let shared = if network == Network::Host { &NAME_FILES[..] } else { &[] };
    shared.iter().map(Path::new).filter(|path| path.is_file())
}

/// The union of [`CAPABILITIES`].
pub(super) fn capability_set() -> CapabilitySet {
    CAPABILITIES.iter().fold(CapabilitySet::empty(), |set, (_, capability)| set | *capability)
}
