//! What the user sees: results on stdout, progress and logs on stderr.

use std::io::{IsTerminal, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::args::Global;
use crate::failure::{Failure, Kind};

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One object, or one per line for streams.
    Json,
}

/// Starts logging to stderr. `-v` says more, `FT_LOG` says exactly what (as in `ft_worker=debug`).
pub(crate) fn start_logging(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "info",
        (_, 2) => "debug",
        _ => "trace",
    };
    let default = match global.verbose {
        0 | 1 => level.to_owned(),
        // The libraries' own debug output drowns ours.
        _ => format!(
            "warn,ft={level},ft_worker={level},ft_manager={level},ft_blockstore={level},ft_image={level}"
        ),
    };
    let filter = EnvFilter::try_from_env("FT_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let logs = logs.with_ansi(std::io::stderr().is_terminal());
    match global.log_format {
        Format::Text => logs.compact().init(),
        Format::Json => logs.json().init(),
    }
}

/// Writes one line to stdout. A reader that has gone (as `head` does) ends the command quietly.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Kind::NobodyReads, error))
        }
        done => done.map_err(|error| Failure::new(Kind::Failed, error).context("cannot write to stdout")),
    }
}

/// Writes a result as one line of JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(anyhow::Error::from)?;
    line(&text)
}

/// Writes rows under a header.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    line(&table.trim_fmt())
}

/// Bytes for people: `12.3 MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// Microseconds for people: `12.3 ms`, `1.234 s`.
pub(crate) fn micros(us: i64) -> String {
    let seconds = us as f64 / 1e6;
    if us < 1_000_000 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.3} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_well() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_000), "1.0 kB");
        assert_eq!(bytes(999_999), "1.0 MB");
        assert_eq!(bytes(574_300_000), "574.3 MB");
        assert_eq!(micros(1_500), "1.5 ms");
        assert_eq!(micros(1_234_000), "1.234 s");
    }
}
