//! Progress bars: without colour, and on a terminal that can move its cursor only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::out::Diagnostics;

/// A bar of `total` steps, or a spinner where the total is unknown.
pub(crate) fn bar(err: &Diagnostics, total: Option<u64>, unit: Unit) -> ProgressBar {
    if !err.draws() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = match (total.is_some(), unit) {
        (true, Unit::Bytes) => "{bar:30} {bytes}/{total_bytes} {msg} {eta}",
        (true, Unit::Things) => "{bar:30} {pos}/{len} {msg} {eta}",
        (false, Unit::Bytes) => "{spinner} {bytes} {msg} {elapsed}",
        (false, Unit::Things) => "{spinner} {pos} {msg} {elapsed}",
    };
    // The templates above are constants that indicatif knows; without one it draws its own.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// What a bar counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes of input.
    Bytes,
    /// Rows, files, journals.
    Things,
}

/// A path's last part, harmless: indicatif prints it as it is.
pub(crate) fn name(path: &std::path::Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    crate::escape::escape(&name).into_owned()
}
