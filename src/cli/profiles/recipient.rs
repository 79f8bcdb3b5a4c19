//! The recipient of an ExeQuantum profile: its key pair is made at the service, and its halves are written where the profile says.

use std::io;
use std::path::Path;

use super::super::common::NewFile;
use super::super::exit::{Exit, Failure};
use super::trial;
use crate::clock::SystemClock;
use crate::keyring::KeySource;
use crate::sealer::managed::exequantum::ExeQuantum;
use crate::sealer::managed::settings::{ExeQuantumSettings, ProfileSettings};

/// Makes the recipient unless it is there; which files were written, and their modes.
pub(super) fn ensure(profile: &ProfileSettings, settings: &ExeQuantumSettings) -> Result<Vec<String>, Failure> {
    let secret = match &settings.recipient_secret {
        Some(KeySource::File(path)) => Some(path.as_path()),
        Some(KeySource::Env(_)) if settings.recipient.exists() => None,
        Some(KeySource::Env(name)) => {
            let failure =
                Failure::new(Exit::Usage, format!("the private half cannot be written into the variable {name}"));
            return Err(
                failure.help("write `recipient_secret: file:PATH` for now, and move it into the variable afterwards")
            );
        }
        None => None,
    };
    // Of one that was killed before it had the key pair: nothing was sealed to it.
    let empty = |path: &Path| path.metadata().is_ok_and(|file| file.is_file() && file.len() == 0);
    if let Some(left) = [Some(settings.recipient.as_path()), secret].into_iter().flatten().find(|path| empty(path)) {
        let text = format!("{} is empty: an earlier `profiles init` was broken off, or runs now", left.display());
        return Err(Failure::new(Exit::Usage, text).help("if none runs, delete the file and run this again"));
    }
    let there = (settings.recipient.exists(), secret.is_none_or(Path::exists));
    match there {
        (true, true) => return Ok(Vec::new()),
        (true, false) => {
            let text = format!("{} is there, but its private half is not", settings.recipient.display());
            let help = "put back the file that `recipient_secret` names, or name new files for a new recipient";
            return Err(Failure::new(Exit::Usage, text).help(help));
        }
        (false, _) => {}
    }
    // Before the service makes anything: a key pair that cannot be kept is lost.
    let public = create(&settings.recipient, 0o644)?;
    let private = secret.map(|path| create(path, 0o600)).transpose()?;
    let (line, key) = trial::wait(profile, |http| ExeQuantum::generate(http, settings, SystemClock::shared()))?;
    let mut written = Vec::new();
    if let (Some(file), Some(path)) = (private, secret) {
        let mut text = crate::secret::SecretBytes::new(key.expose().to_vec());
        text.expose_mut().push(b'\n');
        file.finish(text.expose())?;
        written.push(format!("{} (0600)", path.display()));
    }
    public.finish(line.as_bytes())?;
    written.push(settings.recipient.display().to_string());
    Ok(written)
}

fn create(path: &Path, mode: u32) -> Result<NewFile, Failure> {
    NewFile::create(path, mode).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            let failure =
                Failure::new(Exit::Usage, format!("{} is there already; it was left as it is", path.display()));
            return failure
                .help("a private half is never overwritten: what was sealed to it would be lost. Name another file");
        }
        Failure::io(path.display(), &error)
    })
}
