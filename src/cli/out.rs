//! Where a command writes: results to standard output, everything about them to standard error.

use std::io::{BufWriter, Write};

use serde_json::Value;

use super::exit::{Exit, Failure};

/// The streams of a command.
pub(crate) struct Out {
    out: BufWriter<Box<dyn Write + Send>>,
    err: Box<dyn Write + Send>,
    terminals: (bool, bool),
    json: bool,
}

impl Out {
    /// Writes to these; `terminals` tells of each whether a person reads it.
    pub fn new(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>, terminals: (bool, bool)) -> Self {
        Self { out: BufWriter::new(out), err, terminals, json: false }
    }

    pub(super) fn set_json(&mut self, json: bool) {
        self.json = json;
    }

    /// Whether `--json` was given.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether a person reads standard output.
    pub fn terminal(&self) -> bool {
        self.terminals.0
    }

    /// Whether a person reads standard error: progress goes there.
    pub fn err_terminal(&self) -> bool {
        self.terminals.1
    }

    /// Text as it is.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(|e| Failure::io("standard output", &e))
    }

    /// A line of text.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.text(text)?;
        self.text("\n")
    }

    /// A heading, set off from what went before.
    pub fn title(&mut self, text: &str) -> Result<(), Failure> {
        self.line(&format!("\n{text}"))
    }

    /// A JSON value on a line of its own.
    pub fn value(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&value.to_string())
    }

    /// Hands on what is buffered.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|e| Failure::io("standard output", &e))
    }

    /// A line beside the result. If even that cannot be written, nobody is there to be told.
    pub fn note(&mut self, text: &str) {
        // On a terminal it stands behind what it is about.
        drop(self.flush());
        drop(writeln!(self.err, "{text}"));
    }

    /// Says why a command ends.
    pub(super) fn failure(&mut self, failure: &Failure) {
        // What was written before the failure comes before it.
        drop(self.flush());
        if failure.code == Exit::Ok || (failure.message.is_empty() && failure.findings.0.is_empty()) {
            return;
        }
        if self.json {
            self.note(&failure.to_json().to_string());
            return;
        }
        if !failure.findings.0.is_empty() {
            self.note(&failure.findings.to_string());
        }
        if !failure.message.is_empty() {
            self.note(&format!("error: {}", failure.message));
        }
        if let Some(help) = &failure.help {
            self.note(&format!("help: {help}"));
        }
    }
}

#[cfg(test)]
pub(crate) mod captured {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written to standard output and standard error.
    #[derive(Clone, Default)]
    pub struct Captured(Arc<Mutex<Vec<u8>>>, Arc<Mutex<Vec<u8>>>);

    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        pub fn out(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        pub fn err(&self) -> String {
            String::from_utf8(self.1.lock().unwrap().clone()).unwrap()
        }
    }

    impl Out {
        /// Streams into memory.
        pub fn captured() -> (Self, Captured) {
            let captured = Captured::default();
            let (out, err) = (Sink(Arc::clone(&captured.0)), Sink(Arc::clone(&captured.1)));
            (Self::new(Box::new(out), Box::new(err), (false, false)), captured)
        }
    }

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let (_, captured) = Out::captured();
        let mut out = Out::new(Box::new(Gone), Box::new(Sink(Arc::clone(&captured.1))), (false, false));
        let args = ["sidecloak", "schema", "config"].map(std::ffi::OsString::from);
        assert_eq!(crate::cli::main_with(args, &mut out), Exit::Ok);
        assert_eq!(captured.err(), "");
    }
}
