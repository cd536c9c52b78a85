//! What the helper may do, and giving it up.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::sys::Failure;
use crate::container::limits::capability_set;

/// Whether this process may mount on the host.
pub(super) fn may_mount() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|capabilities| capabilities.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Keeps the capabilities of containers and gives up the others, for itself and whatever it starts, for good.
pub(super) fn drop_all() -> Result<(), Failure> {
    let keep = capability_set();
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if keep.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) => break, // the kernel knows no further ones
            Err(errno) => return Err(Failure::at("give up a capability")(errno)),
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(Failure::at("give up ambient capabilities"))?;
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(Failure::at("give up capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(Failure::at("forbid new privileges"))
}
