//! The commands, one file each.
//!
//! Elsewhere: how an archive is opened (`kymo::app`), the settings (`kymo::config`).

mod ask;
pub(crate) mod compare;
pub(crate) mod import;
pub(crate) mod log;
pub(crate) mod rebuild;
pub(crate) mod serve;
pub(crate) mod verify;

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that tells position, total and rate; silent when nobody watches.
fn bar(what: &'static str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}")
        .expect("the template is a constant and is right");
    ProgressBar::new(total).with_style(style).with_message(what)
}

/// `123456 events in 4.2 s, 29394 a second`.
fn rate(count: u64, what: &str, since: Instant) -> String {
    let seconds = since.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
    let per_second = count as f64 / seconds.max(1e-9);
    format!("{count} {what} in {seconds:.2} s, {per_second:.0} a second")
}
