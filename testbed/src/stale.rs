//! Removes the namespaces of testbeds whose process has died.

use std::path::Path;
use std::process::Command;

use crate::tool::{self, Error};

const STEM: &str = "ftbed";

/// The prefix of the names of this process's testbed number `nth`: it tells whose they are.
pub(crate) fn prefix(nth: u32) -> String {
    format!("{STEM}-{}-{nth}", std::process::id())
}

/// Removes namespaces named by [`prefix`] of processes that are gone.
pub(crate) fn remove() -> Result<(), Error> {
    let listed = tool::output(Command::new("ip").args(["netns", "list"]))?;
    for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        if owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another testbed may be removing the same one.
            let _ = tool::ip(&format!("netns del {name}"));
        }
    }
    Ok(())
}

/// The process that made a namespace, if it is a testbed's.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(STEM)?.strip_prefix('-')?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_testbeds_have_an_owner() {
        assert_eq!(owner(&format!("{}-h3", prefix(2))), Some(std::process::id()));
        for name in ["ftbed", "ftbed-x-1", "other-12-1", ""] {
            assert_eq!(owner(name), None, "{name:?}");
        }
    }
}
