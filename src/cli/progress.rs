//! How far a command is, on standard error and only if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for that many steps.
pub(super) fn bar(steps: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}");
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
    match style {
        Ok(style) => bar.with_style(style).with_message(what),
        Err(_) => bar,
    }
}
