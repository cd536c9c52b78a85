//! Progress of conversions, publications and verifications.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ft_image::{Progress, ProgressEvent};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Global;

/// Shows one bar at a time on a terminal, and nothing elsewhere.
pub(crate) struct Bars {
    shown: bool,
    /// Of the step that goes on now.
    bar: Mutex<ProgressBar>,
}

impl Bars {
    pub(crate) fn new(global: &Global) -> Self {
        let shown = !global.quiet && std::io::stderr().is_terminal();
        Self { shown, bar: Mutex::new(ProgressBar::hidden()) }
    }

    /// Starts a bar of `bytes` (or a counter, if nobody knows how many) for something else.
    pub(crate) fn start(&self, what: String, bytes: Option<u64>) {
        self.finish();
        if !self.shown {
            return;
        }
        let bar = match bytes {
            Some(bytes) => ProgressBar::new(bytes)
                .with_style(style("{msg:<28} [{bar:30}] {bytes:>10}/{total_bytes} {bytes_per_sec}")),
            None => ProgressBar::new_spinner()
                .with_style(style("{msg:<28} {spinner} {bytes:>10} {bytes_per_sec}")),
        };
        bar.enable_steady_tick(Duration::from_millis(100));
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = bar.with_message(what);
    }

    /// Moves the current bar on.
    pub(crate) fn advance(&self, bytes: u64) {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner).inc(bytes);
    }

    /// Takes the current bar away.
    pub(crate) fn finish(&self) {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner).finish_and_clear();
    }
}

impl Progress for Bars {
    fn report(&self, event: ProgressEvent<'_>) {
        match event {
            ProgressEvent::LayerStarted { index, count, stored_bytes, .. } => {
                self.start(format!("converting layer {}/{count}", index + 1), stored_bytes);
            }
            ProgressEvent::LayerRead { bytes }
            | ProgressEvent::Published { bytes, .. }
            | ProgressEvent::Verified { bytes } => self.advance(bytes),
            ProgressEvent::LayerDone => self.finish(),
            ProgressEvent::PublishStarted { bytes } => self.start("publishing".to_owned(), Some(bytes)),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}
