//! Progress bars; nothing is drawn where the output is no terminal.

use crate::limits::working;
use attn_converter::progress::{Phase, Step};
use indicatif::{ProgressBar, ProgressStyle};
use std::borrow::Cow;
use std::cell::RefCell;

/// A bar for work of `len` steps.
pub fn bar(what: impl Into<Cow<'static, str>>, len: usize) -> ProgressBar {
    working();
    let style = ProgressStyle::with_template("{msg:12} [{bar:32}] {pos}/{len}")
        .expect("a constant template");
    ProgressBar::new(len as u64)
        .with_style(style)
        .with_message(what)
}

/// The bar of the phase that is going on.
#[derive(Default)]
pub struct Bars(RefCell<Option<(Phase, ProgressBar)>>);

impl Bars {
    /// Shows a step; the last of a phase takes its bar away.
    pub fn show(&self, step: Step) {
        let mut shown = self.0.borrow_mut();
        if shown.as_ref().is_none_or(|(phase, _)| *phase != step.phase) {
            *shown = Some((step.phase, bar(step.phase.name(), step.total)));
        }
        let Some((_, bar)) = shown.as_ref() else {
            return;
        };
        bar.set_position(step.done as u64);
        if step.done == step.total {
            bar.finish_and_clear();
            *shown = None;
        }
    }
}
