//! Keys that leave the keyring: the offline recipient's, once, for the safe, and an issuer's for a process that only seals.

use std::io::{self, Read};
use std::path::Path;

use serde_json::json;

use super::super::common::NewFile;
use super::super::exit::{Exit, Failure};
use super::super::out::Out;
use super::change::done;
use super::make::there_already;
use super::{acting, advise, change, hex, named, open, place};
use crate::bounded;
use crate::crypto::kem::KemSuite;
use crate::keyring::{Options, Recovery};
use crate::secret::SecretBytes;

/// A recovery key is one line.
const MAX_LINE: u64 = 8 << 10;

pub(super) fn make(options: &Options, kem: KemSuite, output: &Path, out: &mut Out) -> Result<(), Failure> {
    // Before the recipient is made: one whose keys could not be written would stay in the keyring to no use.
    let file = create(output, 0o644)?;
    let key = change(options, ("keyring.recovery", kem.name()), |keyring| keyring.make_recovery(kem))?;
    advise(
        out,
        &format!(
            "The line on standard output opens everything this keyring ever seals. It is shown now and never again: put it into a \
         safe, on paper or on a medium that is offline. Its public half goes to {}.",
            output.display()
        ),
    );
    print(&key.private_line, output, out).map_err(|mut failure| {
        // A pipe that closed is no success here: the key is gone.
        failure.code = Exit::Io;
        failure.message = "the recovery key could not be written out and is lost".into();
        failure.help("run `sidecloak keys recovery` again; the recipient without a key does no harm")
    })?;
    // Last: without this file the key above is as good, without that key the file is good for nothing.
    file.finish(format!("{}\n", key.public_line).as_bytes())?;
    if out.terminal() {
        advise(out, "Clear the terminal's history once it is in the safe.");
    }
    advise(
        out,
        &format!("next: name it in the configuration of keyrings to come: `recovery: [file:{}]`", output.display()),
    );
    Ok(())
}

fn print(line: &SecretBytes, output: &Path, out: &mut Out) -> Result<(), Failure> {
    if out.json() {
        let private = std::str::from_utf8(line.expose()).map_err(|e| Failure::internal(e.to_string()))?;
        out.value(&json!({ "public": output.display().to_string(), "private": private }))?;
    } else {
        out.bytes(line.expose())?;
        out.text("\n")?;
    }
    out.flush()
}

pub(super) fn recover(
    options: &Options,
    from: &str,
    key_file: &Path,
    from_owner: Option<&str>,
    out: &mut Out,
) -> Result<(), Failure> {
    let owner = from_owner.map(fingerprint).transpose()?;
    let line = if key_file == Path::new("-") {
        let mut line = SecretBytes::default();
        #[expect(clippy::disallowed_methods, reason = "bounded by `take`")]
        io::stdin()
            .lock()
            .take(MAX_LINE)
            .read_to_end(line.expose_mut())
            .map_err(|e| Failure::io("standard input", &e))?;
        line
    } else {
        let what = format!("cannot read the recovery key {}", key_file.display());
        SecretBytes::new(bounded::read_file(key_file, MAX_LINE).map_err(|e| Failure::io(what, &e))?)
    };
    let from = place(from)?;
    let at = Options { store: from.clone(), tls: options.tls, ..Options::default() };
    let lost = Recovery::open(&at, &line, owner)?;
    if owner.is_none() {
        advise(out, "note: without --from-owner, whoever could write to the lost keyring is believed");
    }
    let on = from.to_string();
    let taken = change(options, ("keyring.recover", &on), |keyring| keyring.recover_from(&lost))?;
    let text = format!(
        "took over {taken} epoch{} of {}; what was sealed under them opens here now",
        if taken == 1 { "" } else { "s" },
        from
    );
    done(out, &text, &json!({ "epochs": taken }))
}

pub(super) fn encrypt_only(options: &Options, partition: &str, output: &Path, out: &mut Out) -> Result<(), Failure> {
    let name = named(partition)?;
    let keyring = open(options)?;
    let file = create(output, 0o600)?;
    let key = acting(&keyring, ("partition.encrypt-only", name.as_str()), |k| k.add_encrypt_only_issuer(&name))?;
    let line = SecretBytes::new([key.expose(), b"\n"].concat());
    file.finish(line.expose())?;
    let owner = hex(&keyring.owner_fingerprint());
    let file = output.display();
    advise(out, &format!("next: give that process `issuer: file:{file}` and `owner: {owner}`, and no master key"));
    let text = format!("wrote an issuer key for partition {name} to {} (0600)", output.display());
    done(out, &text, &json!({ "partition": name.as_str(), "file": output.display().to_string(), "owner": owner }))
}

pub(super) fn recipient(
    options: &Options,
    partition: &str,
    kem: KemSuite,
    output: &Path,
    out: &mut Out,
) -> Result<(), Failure> {
    let name = named(partition)?;
    let keyring = open(options)?;
    let file = create(output, 0o600)?;
    let key = acting(&keyring, ("recipient.add", name.as_str()), |keyring| keyring.make_recipient(kem, &name))?;
    let line = SecretBytes::new([key.private_line.expose(), b"\n"].concat());
    file.finish(line.expose())?;
    let owner = hex(&keyring.owner_fingerprint());
    let file = output.display();
    advise(out, &format!("next: give that process `recipient: file:{file}` and `owner: {owner}`, and no master key"));
    let text = format!("wrote a recipient's key for partition {name} to {} (0600)", output.display());
    done(out, &text, &json!({ "partition": name.as_str(), "file": output.display().to_string(), "owner": owner }))
}

pub(super) fn own_recipient(options: &Options, partition: &str, out: &mut Out) -> Result<(), Failure> {
    let name = named(partition)?;
    change(options, ("recipient.add", name.as_str()), |keyring| keyring.add_own_recipient(&name))?;
    let text = format!("the master key opens partition {name} now, and what was sealed there before");
    done(out, &text, &json!({ "partition": name.as_str() }))
}

fn create(path: &Path, mode: u32) -> Result<NewFile, Failure> {
    NewFile::create(path, mode).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => there_already(path.display()),
        _ => Failure::io(path.display(), &e),
    })
}

fn fingerprint(text: &str) -> Result<[u8; 32], Failure> {
    let bad =
        || Failure::new(Exit::Usage, "--from-owner is no owner: `sidecloak keys list` shows 64 hexadecimal digits");
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(bad());
    }
    let mut owner = [0; 32];
    for (byte, pair) in owner.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
    }
    Ok(owner)
}
