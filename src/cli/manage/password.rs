//! Passwords, from a file, from standard input, or from a person who is not shown what they type.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::super::exit::{Exit, Failure};
use crate::bounded;
use crate::secret::SecretBytes;

const MAX: u64 = 4 << 10;

/// The first line of the file, or of standard input (`-`); without a file, a person types it twice.
pub fn read(file: Option<&Path>) -> Result<String, Failure> {
    let bytes = match file {
        Some(path) if path == Path::new("-") => first_line(std::io::stdin().lock())?,
        Some(path) => {
            let bytes = bounded::read_file(path, MAX).map_err(|error| Failure::io(path.display(), &error))?;
            first_line(bytes.as_slice())?
        }
        None => typed()?,
    };
    String::from_utf8(bytes.expose().to_vec()).map_err(|_| Failure::new(Exit::Data, "the password is not UTF-8 text"))
}

fn first_line(from: impl Read) -> Result<SecretBytes, Failure> {
    let mut line = SecretBytes::new(Vec::with_capacity(256));
    let read = BufReader::new(from.take(MAX)).read_until(b'\n', line.expose_mut());
    read.map_err(|error| Failure::io("the password", &error))?;
    while matches!(line.expose().last(), Some(b'\n' | b'\r')) {
        line.expose_mut().pop();
    }
    Ok(line)
}

fn typed() -> Result<SecretBytes, Failure> {
    let nobody = |_| {
        Failure::new(Exit::Usage, "nobody is there to type the password")
            .help("give --password-file FILE, or `-` for standard input")
    };
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(nobody)?;
    let first = asked(&terminal, "Password: ")?;
    let second = asked(&terminal, "Once more: ")?;
    if first.expose() == second.expose() { Ok(first) } else { Err(Failure::new(Exit::Usage, "the two differ")) }
}

fn asked(terminal: &File, prompt: &str) -> Result<SecretBytes, Failure> {
    let failed = |error: std::io::Error| Failure::io("the terminal", &error);
    let silence = Silence::begin(terminal).map_err(failed)?;
    let mut to = terminal;
    to.write_all(prompt.as_bytes()).map_err(failed)?;
    let line = first_line(terminal);
    drop(silence);
    to.write_all(b"\n").map_err(failed)?;
    line
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn begin(terminal: &'a File) -> std::io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(self.terminal, OptionalActions::Flush, &self.before) {
            tracing::warn!(%error, "the terminal may not show what is typed; `stty echo` changes that");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_first_line() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("password");
        for (content, expected) in [("secret\n", "secret"), (" a b \r\nmore", " a b "), ("", ""), ("x", "x")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(Some(&path)).unwrap(), expected);
        }
        std::fs::write(&path, [0xff, b'\n']).unwrap();
        assert_eq!(read(Some(&path)).unwrap_err().code, Exit::Data);
        std::fs::write(&path, vec![b'x'; 5000]).unwrap();
        assert!(read(Some(&path)).is_err());
        assert_eq!(read(Some(&root.path().join("none"))).unwrap_err().code, Exit::NoInput);
    }
}
