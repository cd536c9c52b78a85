//! Live progress of the demo on a terminal: a bar per VM; elsewhere a line per step on stderr.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use ft_proto::v1;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::args::Global;
use crate::cmd::{parents, state_name};

/// More bars than this would scroll off the screen.
const MAX_BARS: usize = 40;

/// Shows what happens while it happens.
pub(super) struct Live {
    bars: Option<MultiProgress>,
    quiet: bool,
    vms: BTreeMap<String, ProgressBar>,
    states: BTreeMap<String, &'static str>,
}

impl Live {
    pub(super) fn new(global: &Global) -> Self {
        let bars = (!global.quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Self { bars, quiet: global.quiet, vms: BTreeMap::new(), states: BTreeMap::new() }
    }

    /// Something to show for good.
    pub(super) fn say(&self, text: &str) {
        match &self.bars {
            // Only a terminal that has gone away fails here.
            Some(bars) => drop(bars.println(text)),
            None if self.quiet => {}
            None => eprintln!("{text}"),
        }
    }

    /// A container reached a state.
    pub(super) fn event(&mut self, event: &v1::ContainerEvent) {
        let state = state_name(event.state());
        self.states.insert(event.vm.clone(), state);
        match self.vms.get(&event.vm) {
            Some(bar) => bar.set_message(state),
            None if self.bars.is_none() => {
                self.say(&format!(
                    "{:<8} {:<8} {}",
                    event.vm,
                    state,
                    crate::output::micros(event.elapsed_us)
                ));
            }
            None => {}
        }
    }

    /// The tree as it is now: every VM's blocks.
    pub(super) fn tree(&mut self, tree: &v1::Tree) {
        let Some(bars) = &self.bars else { return };
        for vm in tree.vms.iter().take(MAX_BARS) {
            let image = vm.image.clone().unwrap_or_default();
            let bar = self.vms.entry(vm.vm.clone()).or_insert_with(|| {
                let bar = bars.add(ProgressBar::new(1));
                bar.set_style(style());
                bar
            });
            bar.set_prefix(format!("{:<6} ← {}", vm.vm, parents(tree, &vm.vm).join("/")));
            bar.set_length(image.total_blocks.max(1).into());
            bar.set_position(image.stored_blocks.into());
            bar.set_message(self.states.get(&vm.vm).copied().unwrap_or("joined"));
        }
    }

    /// Takes the bars away.
    pub(super) fn finish(&mut self) {
        for bar in std::mem::take(&mut self.vms).into_values() {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{prefix:<24} [{bar:30}] {pos:>5}/{len} blocks  {msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
