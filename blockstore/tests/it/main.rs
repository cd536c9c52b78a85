//! Tests against real servers, processes and file systems. They need Debian's docker-registry, apache2-utils
//! and skopeo, and root for the small file systems; `cargo xtask test` sees to that.

#[cfg(test)]
mod registry;
#[cfg(test)]
mod tools;
