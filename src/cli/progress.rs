//! Progress bars on a terminal, and with `-v` the names of objects.

use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::Verbosity;
use crate::progress::{Part, Progress, Silent};
use crate::terminal;

/// A bar with bytes, rate and remaining time if standard error is a terminal, and with `-v` a line for each object.
pub fn for_terminal(verbosity: Verbosity) -> Box<dyn Progress> {
    let names = verbosity.verbose;
    match terminal::shows_progress() && !verbosity.quiet {
        true => {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            Box::new(Bars { all, total: Mutex::new(None), names })
        }
        false if names => Box::new(Names),
        false => Box::new(Silent),
    }
}

/// A line for each object.
struct Names;

impl Progress for Names {
    fn start(&self, _what: &str, _total: u64) {}
    fn start_items(&self, _what: &str, _total: u64) {}
    fn advance(&self, _more: u64) {}
    fn finish(&self) {}
    fn wrote(&self, what: &dyn std::fmt::Display) {
        terminal::log(what);
    }
}

/// One bar for the total, and above it one for each part in progress.
struct Bars {
    all: MultiProgress,
    total: Mutex<Option<ProgressBar>>,
    names: bool,
}

/// The unit of a bar.
#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Items,
}

/// `NO_COLOR` asks programs for plain text (no-color.org).
fn template(unit: Unit) -> String {
    let bar = match std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        true => "{msg:12!} [{bar:30}]",
        false => "{msg:12!} [{bar:30.cyan}]",
    };
    let counts = match unit {
        Unit::Bytes => "{binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
        Unit::Items => "{human_pos}/{human_len} {per_sec}",
    };
    format!("{bar} {counts} {{eta}} left")
}

fn new_bar(what: &str, total: u64, unit: Unit) -> ProgressBar {
    let style = ProgressStyle::with_template(&template(unit)).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total).with_message(terminal::printable(what).into_owned());
    bar.set_style(style.progress_chars("=> "));
    bar
}

impl Bars {
    fn total(&self) -> Option<ProgressBar> {
        self.total.lock().ok()?.clone()
    }

    fn begin(&self, bar: ProgressBar) {
        let bar = self.all.add(bar);
        if let Ok(mut slot) = self.total.lock() {
            *slot = Some(bar);
        }
    }
}

impl Progress for Bars {
    fn start(&self, what: &str, total: u64) {
        self.begin(new_bar(what, total, Unit::Bytes));
    }

    fn start_items(&self, what: &str, total: u64) {
        self.begin(new_bar(what, total, Unit::Items));
    }

    fn advance(&self, more: u64) {
        if let Some(total) = self.total() {
            total.inc(more);
        }
    }

    fn finish(&self) {
        if let Some(total) = self.total() {
            total.finish_and_clear();
        }
    }

    fn wrote(&self, what: &dyn std::fmt::Display) {
        if self.names {
            self.all.suspend(|| terminal::log(what));
        }
    }

    fn part<'a>(&'a self, what: &str, total: u64) -> Box<dyn Part + 'a> {
        let Some(whole) = self.total() else { return Box::new(Silent) };
        Box::new(PartBar { bar: self.all.insert_before(&whole, new_bar(what, total, Unit::Bytes)), whole })
    }
}

/// The bar of a part. When a part starts again, the total decreases, too.
struct PartBar {
    bar: ProgressBar,
    whole: ProgressBar,
}

impl Part for PartBar {
    fn at(&self, bytes: u64) {
        let before = self.bar.position();
        self.bar.set_position(bytes);
        match bytes.checked_sub(before) {
            Some(more) => self.whole.inc(more),
            None => self.whole.dec(before - bytes),
        }
    }
}

impl Drop for PartBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
