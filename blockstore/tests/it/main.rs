//! Tests against real servers, processes and file systems. They need Debian's docker-registry, apache2-utils,
//! busybox-static and skopeo, and root for the small file systems; `cargo xtask test` sees to that.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod full;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod served;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tools;
