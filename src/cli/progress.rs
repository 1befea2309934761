//! Progress bars, on a terminal and nowhere else.

use std::io::IsTerminal;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Verbosity;
use crate::progress::{Progress, Silent};

/// A bar with bytes, rate and time left when standard error is a terminal; otherwise nothing.
pub fn for_terminal(verbosity: Verbosity) -> Box<dyn Progress> {
    if verbosity.quiet || !std::io::stderr().is_terminal() {
        return Box::new(Silent);
    }
    Box::new(Bar { bar: Mutex::new(None) })
}

struct Bar {
    bar: Mutex<Option<ProgressBar>>,
}

/// `NO_COLOR` asks programs for plain text (no-color.org).
fn template() -> &'static str {
    match std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        true => "{msg:8} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left",
        false => "{msg:8} [{bar:30.cyan}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} left",
    }
}

impl Progress for Bar {
    fn start(&self, what: &str, total: u64) {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(template()).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_message(what.to_string());
        if let Ok(mut slot) = self.bar.lock() {
            *slot = Some(bar);
        }
    }

    fn advance(&self, bytes: u64) {
        if let Ok(slot) = self.bar.lock()
            && let Some(bar) = &*slot
        {
            bar.inc(bytes);
        }
    }

    fn finish(&self) {
        if let Ok(mut slot) = self.bar.lock()
            && let Some(bar) = slot.take()
        {
            bar.finish_and_clear();
        }
    }
}
