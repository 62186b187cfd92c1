//! How waiting looks: a bar on a terminal, otherwise one line per change. All on standard error,
//! so that a script's output holds results only.

use std::{collections::BTreeSet, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    goal::Standing,
    output::{self, Tone},
};

const TICK: Duration = Duration::from_millis(120);

/// Shows standings as they come.
pub(crate) struct Progress {
    label: String,
    bar: Option<ProgressBar>,
    /// The longest way seen: the bar's length. It grows when the fleet's way gets longer.
    total: u64,
    last: String,
    told: BTreeSet<String>,
}

impl Progress {
    /// For `label`, usually the pool's name.
    pub(crate) fn new(label: &str) -> Self {
        let label = output::plain(label);
        let bar = output::is_interactive().then(|| bar(&label));
        Self { label, bar, total: 0, last: String::new(), told: BTreeSet::new() }
    }

    /// Shows where it stands; what was shown before is not shown again.
    pub(crate) fn show(&mut self, standing: &Standing) {
        for reason in standing.reasons.iter().chain(&standing.notes) {
            if self.told.insert(reason.clone()) {
                self.note(reason);
            }
        }
        self.total = self.total.max(standing.remaining);
        let line = output::plain(&standing.line);
        match &self.bar {
            Some(bar) => {
                bar.set_length(self.total.max(1));
                bar.set_position(self.total.max(1) - standing.remaining);
                bar.set_message(line);
            }
            None if line != self.last => {
                output::say(&format!("{}: {line}", self.label));
                self.last = line;
            }
            None => {}
        }
    }

    /// Says something worth knowing without disturbing the bar.
    pub(crate) fn note(&self, text: &str) {
        let text = output::toned(&format!("  ! {}", output::plain(text)), Tone::Warn);
        match &self.bar {
            Some(bar) => bar.suspend(|| output::say(&text)),
            None => output::say(&text),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(label: &str) -> ProgressBar {
    let bar = ProgressBar::new(1);
    // The template is a constant; should it ever not be read, the library's own look will do.
    if let Ok(style) =
        ProgressStyle::with_template("{prefix} [{bar:20}] {elapsed} {spinner} {wide_msg}")
    {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(label.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}
