//! A progress bar for work that takes longer than a second.

use std::time::{Duration, Instant};

use cofferdam_workspace::promote::Killed;
use indicatif::{ProgressBar, ProgressStyle};

/// Shown from the second second on, on a terminal only.
pub struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
    steps: u64,
    unit: &'static str,
}

impl Progress {
    /// Counts `unit`.
    pub fn new(unit: &'static str) -> Progress {
        Progress { bar: None, begun: Instant::now(), steps: 0, unit }
    }

    /// The hook that a promotion calls before each of its steps.
    pub fn hook(&mut self) -> impl FnMut(&'static str, u64) -> Result<(), Killed> + '_ {
        |step, number| {
            self.step(step, number);
            Ok(())
        }
    }

    /// So many of so many are done.
    pub fn at(&mut self, step: &'static str, done: u64, all: u64) {
        if self.begun.elapsed() > Duration::from_secs(1) {
            let bar = self.bar.get_or_insert_with(|| {
                ProgressBar::new(all).with_style(
                    ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}")
                        .unwrap_or_else(|_| ProgressStyle::default_bar()),
                )
            });
            bar.set_message(format!("{step} {}", self.unit));
            bar.set_position(done);
        }
    }

    fn step(&mut self, step: &'static str, number: u64) {
        self.steps += 1;
        if self.steps.is_multiple_of(64) && self.begun.elapsed() > Duration::from_secs(1) {
            let bar = self.bar.get_or_insert_with(|| {
                ProgressBar::new_spinner().with_style(
                    ProgressStyle::with_template("{spinner} {msg}")
                        .unwrap_or_else(|_| ProgressStyle::default_spinner()),
                )
            });
            bar.set_message(format!("{step}: {number} {}", self.unit));
            bar.tick();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
