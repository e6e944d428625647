//! Log lines of the process: which ones, in which form, to standard error.
//!
//! Invariant: lines go to standard error only, so that what a command prints stays clean.
//! Elsewhere: what is logged (each room, where it handles an error), audit records (`http`).

use std::io;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Format {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(BadSetting::Format(other.to_owned())),
        }
    }
}

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum BadSetting {
    /// Neither `text` nor `json`.
    #[error("'{0}' is no form of log lines: text or json")]
    Format(String),
    /// Not a list of directives.
    #[error("'{0}' does not say what to log; try info or kymo=debug,info")]
    Filter(String),
    /// Somebody else logs in this process already.
    #[error("log lines are taken by something else in this process")]
    Taken,
}

/// Begins to log what `filter` lets through: a level, or directives such as `kymo=debug,info`.
///
/// # Errors
/// [`BadSetting`]
pub fn init(filter: &str, format: Format) -> Result<(), BadSetting> {
    subscriber(filter, format, io::stderr)?.try_init().map_err(|_| BadSetting::Taken)
}

fn subscriber<W>(
    filter: &str,
    format: Format,
    writer: W,
) -> Result<Box<dyn ::tracing::Subscriber + Send + Sync>, BadSetting>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).map_err(|_| BadSetting::Filter(filter.to_owned()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match format {
        Format::Text => Box::new(lines.with_ansi(false).finish()),
        Format::Json => Box::new(lines.json().flatten_event(true).finish()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: Format) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(filter, format, move || writer.clone()).unwrap();
        ::tracing::subscriber::with_default(subscriber, || {
            ::tracing::info!(study.uid = "1.2.3", "a study was stored");
            ::tracing::debug!("a detail");
        });
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_filter_decides_and_fields_are_kept() {
        let text = logged("info", Format::Text);
        assert!(text.contains("a study was stored") && text.contains("study.uid=\"1.2.3\""), "{text}");
        assert_eq!(text.lines().count(), 1);
        assert!(logged("warn", Format::Text).is_empty());

        let json: serde_json::Value = serde_json::from_str(&logged("info", Format::Json)).unwrap();
        assert_eq!((&json["message"], &json["study.uid"]), (&"a study was stored".into(), &"1.2.3".into()));
    }

    #[test]
    fn wrong_settings_are_named() {
        assert!("xml".parse::<Format>().is_err_and(|error| error.to_string().contains("xml")));
        assert_eq!("json".parse::<Format>().unwrap(), Format::Json);
        assert!(matches!(init("kymo=loudly", Format::Text), Err(BadSetting::Filter(_))));
    }
}
