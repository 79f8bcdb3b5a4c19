//! The command line through the real program: what it prints, where, and how it ends.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sidecloak::bounded::read_file;
use tempfile::TempDir;

#[path = "cli/check.rs"]
mod check;
#[path = "cli/documents.rs"]
mod documents;
#[path = "cli/keys.rs"]
mod keys;
#[path = "cli/manage.rs"]
mod manage;
#[path = "cli/process.rs"]
pub mod process;
#[path = "cli/profiles.rs"]
mod profiles;

/// A directory in which commands run, with nothing of the machine's configuration.
pub struct Place(TempDir);

#[derive(Debug, Clone)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no `{text}` in: {}", self.err);
        self
    }

    #[track_caller]
    pub fn shows(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no `{text}` in: {}", self.out);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}", self.out))
    }
}

impl Place {
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With a keyring of partitions `default` and `customers`.
    pub fn with_keyring() -> Self {
        let place = Self::empty();
        place.run(&["keys", "init", "--partition", "customers"]).ends(0);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        read_file(&self.path(name), 64 << 20).unwrap()
    }

    pub fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    pub fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidecloak"));
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("SIDECLOAK_")) {
            command.env_remove(name);
        }
        // Temporary directories may lie on a file system that loses them.
        command.env("SIDECLOAK_I_KNOW", "1").current_dir(self.0.path()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        done(self.command(args))
    }

    pub fn feed(&self, args: &[&str], input: impl AsRef<[u8]>) -> Done {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.as_ref().to_vec();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        from(&output)
    }
}

pub fn done(mut command: Command) -> Done {
    from(&command.output().unwrap())
}

fn from(output: &std::process::Output) -> Done {
    Done {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout.clone()).unwrap(),
        err: String::from_utf8(output.stderr.clone()).unwrap(),
    }
}

fn example_rules(place: &Place) {
    place.write(
        "rules/customers.yaml",
        "rules:\n  - name: health\n    match: { path: /healthz }\n    action: pass\n  - name: customers\n    match: { path: /customers/** }\n    \
         protect:\n      - { fields: [\"$..ssn\"], key: customers }\n      - { fields: [\"$.email\"], deterministic: true }\n    \
         tests:\n      - when: { method: PUT, path: /customers/7 }\n        request: { ssn: \"1\", a: 2 }\n        seals: [\"$['ssn']\"]\n",
    );
}

#[test]
fn without_a_keyring_the_way_out_is_named() {
    let place = Place::empty();
    for args in [
        &["keys", "list"][..],
        &["seal", "--class", "ssn"],
        &["run", "--upstream", "http://127.0.0.1:9", "--keyring", "k.db"],
    ] {
        place.run(args).ends(77).says("sidecloak keys init");
    }
    // A rule that seals is no reason to make one either.
    example_rules(&place);
    place.run(&["run", "--upstream", "http://127.0.0.1:9"]).ends(77).says("sidecloak keys init");
    assert!(!place.path("sidecloak.db").exists() && !place.path("master.key").exists());
}

#[test]
fn a_mistake_in_the_configuration_is_shown_at_its_place() {
    let place = Place::empty();
    place.write("sidecloak.yaml", "listeners:\n  - upstrem: http://127.0.0.1:9000\nworkers: many\n");
    let done = place.run(&["run"]).ends(64).says("sidecloak.yaml:2:5").says("upstream").says("sidecloak.yaml:3:10");
    assert_eq!(done.out, "");
    let done = place.run(&["run", "--json"]).ends(64);
    let error: Value = serde_json::from_str(&done.err).unwrap();
    let first = &error["error"]["findings"][0];
    assert_eq!(
        (error["error"]["code"].as_u64(), first["line"].as_u64(), first["column"].as_u64()),
        (Some(64), Some(2), Some(5))
    );
    place.run(&["run", "--config", "nowhere.yaml"]).ends(64).says("nowhere.yaml");
}

#[test]
fn arguments_that_are_wrong() {
    let place = Place::empty();
    place.run(&["sael"]).ends(64).says("seal");
    place.run(&["seal", "--rules", "rules", "--path", "/x", "--class", "ssn"]).ends(64);
    let done = place.run(&["keys", "--json", "lst"]).ends(64);
    let error: Value = serde_json::from_str(&done.err).unwrap();
    assert_eq!(error["error"]["code"], 64);
}

#[test]
fn keys_that_may_not_be_used() {
    let place = Place::with_keyring();
    place.chmod("master.key", 0o644);
    place.run(&["keys", "list"]).ends(77).says("chmod 600");
    place.chmod("master.key", 0o600);
    place.chmod("sidecloak.db", 0o666);
    place.run(&["keys", "list"]).ends(77).says("chmod 600");
    place.chmod("sidecloak.db", 0o600);
    fs::rename(place.path("master.key"), place.path("hidden.key")).unwrap();
    place.run(&["keys", "list"]).ends(77).says("master.key");
    assert!(!place.path("master.key").exists());
    place.run(&["keys", "list", "--master-key-file", "hidden.key"]).ends(0);
    let error: Value = serde_json::from_str(&place.run(&["--json", "keys", "list"]).ends(77).err).unwrap();
    assert_eq!(error["error"]["code"], 77);
}

#[test]
fn a_keyring_that_does_not_fit_or_is_damaged() {
    let (place, other) = (Place::with_keyring(), Place::with_keyring());
    fs::copy(other.path("master.key"), place.path("other.key")).unwrap();
    place.run(&["keys", "list", "--master-key-file", "other.key"]).ends(78);
    let mut bytes = place.bytes("sidecloak.db");
    bytes.truncate(20_000);
    fs::write(place.path("cut.db"), &bytes).unwrap();
    place.chmod("cut.db", 0o600);
    place.run(&["keys", "list", "--keyring", "cut.db"]).ends(78);
    place.write("text.db", "this is no database, however long it goes on about it ".repeat(40)).chmod("text.db", 0o600);
    place.run(&["keys", "list", "--keyring", "text.db"]).ends(78);
    place.write("text.key", "not a key\n").chmod("text.key", 0o600);
    let done = place.run(&["keys", "list", "--master-key-file", "text.key"]);
    assert!([77, 78].contains(&done.code), "{done:?}");
    assert!(!done.err.contains("not a key"), "a key file's content is never shown");
}

#[test]
fn what_explains_the_program() {
    let place = Place::empty();
    for which in ["rules", "config"] {
        let schema = place.run(&["schema", which]).ends(0).json();
        assert!(schema.get("$schema").is_some() && schema.get("properties").is_some(), "{which}");
    }
    for shell in ["bash", "zsh", "fish"] {
        place.run(&["completions", shell]).ends(0).shows("rotate-master");
    }
    place.run(&["man"]).ends(0).shows(".TH sidecloak 1");
    place.run(&["man", "--out", "man1"]).ends(0);
    assert!(place.path("man1/sidecloak-keys-recover.1").is_file());
    place.run(&["--version"]).ends(0).shows(env!("CARGO_PKG_VERSION"));
    place.run(&["help", "seal"]).ends(0).shows("--class");
}

/// The shell is asked whether it takes the script.
#[test]
fn completions_are_scripts() {
    let place = Place::empty();
    place.write("c.bash", place.run(&["completions", "bash"]).out);
    // Where there is no bash, nobody uses its completions.
    if let Ok(status) = Command::new("bash").arg("-n").arg(place.path("c.bash")).status() {
        assert!(status.success());
    }
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let place = Place::empty();
    let mut child = place.command(&["schema", "config"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &[][..]));
}

#[test]
fn a_full_disk() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let place = Place::with_keyring();
    let full = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    for args in [&["schema", "config"][..], &["keys", "list"]] {
        let mut command = place.command(args);
        command.stdout(full());
        done(command).ends(74).says("standard output");
    }
    place.feed(&["seal", "--class", "x", "--output", "/dev/full"], "\"a\"").ends(74).says("/dev/full");
    assert!(!fs::metadata("/dev/full").unwrap().is_file(), "a device is not replaced");
    // The private half of a recipient that nobody was shown is no success.
    let mut command = place.command(&["keys", "recovery"]);
    command.stdout(full());
    done(command).ends(74).says("lost");
    assert!(!place.path("recovery.pub").exists(), "the next try finds its place free");
}
