//! Flags of `ft fuzz`.

use std::ops::Range;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ft fuzz --seeds 0..1000            a thousand runs; the first that fails is made small and shown
  ft fuzz --seed 4711 --trace        one run and its whole event log")]
pub(crate) struct FuzzArgs {
    /// The seeds to run, A..B without B.
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "0..1000")]
    pub seeds: Range<u64>,
    /// Run this seed alone.
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Print the event log of the run.
    #[arg(long, requires = "seed")]
    pub trace: bool,
    /// How many runs at a time; by default as many as there are processors.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("expected A..B, as in 0..1000")?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let seeds = number(from)?..number(to)?;
    if seeds.is_empty() { Err("no seeds: expected A below B".to_owned()) } else { Ok(seeds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_that_is_not_empty() {
        assert_eq!(range("3..7"), Ok(3..7));
        for wrong in ["", "3", "3..", "..7", "7..3", "3..3", "-1..4", "a..b"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
