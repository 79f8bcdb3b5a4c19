//! The log: JSON lines on standard error, or text where a terminal reads it. And what keeps secrets out of places that
//! nobody thinks of: core dumps, debuggers, panic messages.

use std::io::{self, IsTerminal};
use std::panic;

use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One object a line.
    Json,
    /// For people.
    Text,
}

impl Format {
    /// Text if standard error is a terminal.
    pub fn of_stderr() -> Self {
        if io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Starts the log at this level (`info`); once per process, later calls change nothing. Panics go to the log by their
/// place alone, since their text may quote data.
pub fn init(level: LevelFilter, format: Format) {
    drop(subscriber(level, format, io::stderr).try_init());
    panic::set_hook(Box::new(|panicked| {
        let place = panicked.location().map(ToString::to_string);
        tracing::error!(place, "a panic; this is a bug in sidecloak, please report the place");
    }));
}

/// What [`init`] installs, writing elsewhere.
pub fn subscriber<W>(level: LevelFilter, format: Format, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // Dependencies write values at debug level (header tables, statements): they never get past warnings.
    let others = level.min(LevelFilter::from_level(Level::WARN));
    let filter = Targets::new().with_default(others).with_target(env!("CARGO_PKG_NAME"), level);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Json => Box::new(fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(writer)),
        Format::Text => Box::new(fmt::layer().with_ansi(false).with_writer(writer)),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter))
}

/// Turns core dumps and ptrace by other processes of the same user off. To be called before the first key is read.
pub fn harden() -> io::Result<()> {
    use rustix::process::{Resource, Rlimit};
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LevelFilter, format: Format) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        tracing::subscriber::with_default(subscriber(level, format, move || writer.clone()), || {
            tracing::trace!(target: "h2::codec", "header table with canary");
            tracing::debug!(target: "hyper::proto", "canary");
            tracing::info!(target: "rusqlite", "canary");
            tracing::warn!(target: "hyper", "a warning");
            tracing::info!(target: "sidecloak::access", status = 200, "exchange");
        });
        String::from_utf8(memory.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn dependencies_never_write_below_warnings() {
        for format in [Format::Json, Format::Text] {
            let text = logged(LevelFilter::TRACE, format);
            assert!(!text.contains("canary") && text.contains("a warning") && text.contains("exchange"), "{text}");
            assert_eq!(logged(LevelFilter::OFF, format), "");
        }
    }

    #[test]
    fn a_json_line_is_one_flat_object() {
        let text = logged(LevelFilter::INFO, Format::Json);
        let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&line["status"], &line["level"]), (&200.into(), &"INFO".into()));
        assert!(line["timestamp"].is_string(), "{line}");
    }

    #[test]
    fn a_hardened_process_leaves_no_core() {
        harden().unwrap();
        assert_eq!(rustix::process::getrlimit(rustix::process::Resource::Core).current, Some(0));
        #[cfg(target_os = "linux")]
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), rustix::process::DumpableBehavior::NotDumpable);
    }
}
