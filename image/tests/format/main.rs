//! Function images as a whole: what goes in comes out, the same everywhere, and nothing hostile gets through.

#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod materialized;
#[cfg(test)]
mod origins;
#[cfg(test)]
mod overlay;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod roundtrip;
#[cfg(test)]
#[path = "../synthetic/mod.rs"]
mod synthetic;
