//! The names in certificates.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// The most characters of a trust domain, and of an admin's or tenant's name.
const MAX_TRUST_DOMAIN: usize = 253;
const MAX_NAME: usize = 63;
const SCHEME: &str = "spiffe://";

/// An identity: a role within a trust domain.
///
/// Its text form is a SPIFFE id, which a certificate carries as its only URI name:
/// `spiffe://TRUST-DOMAIN/manager`, `…/vm/N`, `…/admin/NAME` or `…/tenant/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeUri {
    trust_domain: String,
    role: Role,
}

/// What an identity may do is decided by its role.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The manager, and the origin server that runs beside it.
    Manager,
    /// The worker of the VM with this number.
    Vm(u64),
    /// Somebody who may do everything that a client can do.
    Admin(String),
    /// Somebody who may use the tenant's own functions and containers.
    Tenant(String),
}

impl SpiffeUri {
    /// The identity of `role` in `trust_domain`.
    ///
    /// # Errors
    /// [`Error::BadName`] if the trust domain or the role's name has characters that are not allowed: a
    /// trust domain is 1-253 of `a-z0-9._-`, a name 1-63 of the same and starts with a letter or digit.
    pub fn new(trust_domain: &str, role: Role) -> Result<Self> {
        if !is_trust_domain(trust_domain) {
            return Err(bad(
                trust_domain,
                "a trust domain is 1 to 253 characters of a-z, 0-9, '.', '_' and '-'",
            ));
        }
        if let Role::Admin(name) | Role::Tenant(name) = &role
            && !is_name(name)
        {
            return Err(bad(name, "a name is 1 to 63 characters of a-z, 0-9, '.', '_' and '-'"));
        }
        Ok(Self { trust_domain: trust_domain.to_owned(), role })
    }

    /// The trust domain: one manager (later one group of managers) and everything that joined it.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The role.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The VM's number, if this is a worker's identity.
    pub fn vm(&self) -> Option<u64> {
        match self.role {
            Role::Vm(id) => Some(id),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manager => f.write_str("manager"),
            Self::Vm(id) => write!(f, "vm/{id}"),
            Self::Admin(name) => write!(f, "admin/{name}"),
            Self::Tenant(name) => write!(f, "tenant/{name}"),
        }
    }
}

impl fmt::Display for SpiffeUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.trust_domain, self.role)
    }
}

impl FromStr for Role {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('/') {
            None if text == "manager" => Ok(Self::Manager),
            Some(("vm", id)) => {
                parse_vm(id).map(Self::Vm).ok_or_else(|| bad(text, "vm/ takes a decimal number"))
            }
            Some(("admin", name)) => Ok(Self::Admin(name.to_owned())),
            Some(("tenant", name)) => Ok(Self::Tenant(name.to_owned())),
            _ => Err(bad(text, "a role is manager, vm/N, admin/NAME or tenant/NAME")),
        }
    }
}

impl FromStr for SpiffeUri {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| bad(text, "it does not start with spiffe://"))?;
        let (trust_domain, role) =
            rest.split_once('/').ok_or_else(|| bad(text, "it names a trust domain, but no role"))?;
        Self::new(trust_domain, role.parse()?)
    }
}

/// A trust domain alone, as the authority's own certificate names it: `spiffe://TRUST-DOMAIN`.
pub(crate) fn trust_domain_uri(trust_domain: &str) -> String {
    format!("{SCHEME}{trust_domain}")
}

/// The trust domain in such a URI.
pub(crate) fn parse_trust_domain_uri(text: &str) -> Result<&str> {
    text.strip_prefix(SCHEME)
        .filter(|domain| is_trust_domain(domain))
        .ok_or_else(|| bad(text, "expected spiffe:// and a trust domain"))
}

fn is_trust_domain(text: &str) -> bool {
    (1..=MAX_TRUST_DOMAIN).contains(&text.len()) && text.bytes().all(is_name_byte)
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(is_name_byte)
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
}

/// A canonical decimal number: one identity has one text form.
fn parse_vm(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

fn bad(text: &str, reason: &'static str) -> Error {
    Error::BadName { text: text.chars().take(80).collect(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn role() -> impl Strategy<Value = Role> {
        prop_oneof![
            Just(Role::Manager),
            any::<u64>().prop_map(Role::Vm),
            "[a-z0-9][a-z0-9._-]{0,62}".prop_map(Role::Admin),
            "[a-z0-9][a-z0-9._-]{0,62}".prop_map(Role::Tenant),
        ]
    }

    proptest! {
        #[test]
        fn text_form_round_trips(domain in "[a-z0-9._-]{1,40}", role in role()) {
            let uri = SpiffeUri::new(&domain, role).unwrap();
            prop_assert_eq!(uri.to_string().parse::<SpiffeUri>().unwrap(), uri);
        }

        #[test]
        fn whatever_parses_is_canonical(text in "spiffe://[a-zA-Z0-9./_-]{0,30}|.{0,60}") {
            if let Ok(uri) = text.parse::<SpiffeUri>() {
                prop_assert_eq!(uri.to_string(), text);
            }
        }
    }

    #[test]
    fn near_misses_are_refused() {
        for text in [
            "spiffe://ft/vm/01",
            "spiffe://ft/vm/+1",
            "spiffe://ft/vm/",
            "spiffe://ft/vm/18446744073709551616",
            "spiffe://ft/vm/1/",
            "spiffe://ft/manager/",
            "spiffe://ft/admin/",
            "spiffe://ft/admin/-a",
            "spiffe://ft/tenant/a/b",
            "spiffe://FT/manager",
            "spiffe:///manager",
            "spiffe://ft",
            "https://ft/manager",
        ] {
            assert!(text.parse::<SpiffeUri>().is_err(), "{text} was accepted");
        }
    }
}
