//! Everything this binary logs, at every level, from every crate. One for the whole process: workers are threads.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sidecloak::telemetry::{Format, subscriber};
use tracing_subscriber::filter::LevelFilter;

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts it, once, as the process itself would at its most talkative.
pub fn log() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = subscriber(LevelFilter::TRACE, Format::Json, move || writer.clone());
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    })
    .clone()
}
