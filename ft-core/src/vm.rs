//! VMs: the hosts in the pool.

use core::fmt;
use core::str::FromStr;

/// A host in the pool, which runs one worker. The manager hands ids out and never reuses one.
/// Its text form is `vm-` and the decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(pub u64);

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vm-{}", self.0)
    }
}

impl FromStr for VmId {
    type Err = ParseVmIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_prefix("vm-").ok_or(ParseVmIdError)?;
        if number.starts_with('+') || (number.len() > 1 && number.starts_with('0')) {
            return Err(ParseVmIdError);
        }
        number.parse().map(Self).map_err(|_| ParseVmIdError)
    }
}

/// The text is not `vm-` followed by a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a VM id: expected vm- and a decimal number")]
pub struct ParseVmIdError;
