//! What tools that we did not write make of the same images: umoci, skopeo, docker-registry, `fsck.erofs` and the
//! kernel. Needs root and those tools; `cargo xtask test` installs them.

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod mounted;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod tree;
#[cfg(test)]
mod umoci;
