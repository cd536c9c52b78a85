//! Where daemons keep their state unless told otherwise.

use std::path::PathBuf;

/// `/var/lib/ft/NAME` for root, else the user's state directory.
pub(crate) fn state_dir(name: &str) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/ft").join(name);
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("ft").join(name)
}
