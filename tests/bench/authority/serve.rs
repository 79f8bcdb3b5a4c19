//! An authority in a folder of its own, with a key and callers that the benchmark knows: `bench-authority DIRECTORY`. Serves the
//! APIs through the authority's real listeners on loopback, prints one line of JSON about them, and ends with its input.
#![allow(clippy::print_stdout, clippy::indexing_slicing, reason = "a tool for the benchmark")]

use std::error::Error;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sidecloak::authority::credentials::{NewApiKey, Purpose};
use sidecloak::authority::face::Door;
use sidecloak::authority::listen::{Bind, Server, Settings as Listeners, Timeouts};
use sidecloak::authority::{Authority, Settings, ncloud_kms};
use sidecloak::clock::SystemClock;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::keyring::{KeySource, Keyring, Options};
use sidecloak::metrics::Metrics;
use sidecloak::proxy::settings::{Drain, Limits};
use sidecloak::secret::SecretBytes;

const USER: &str = "bench";
const PASSWORD: &str = "benchmark password";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("usage: bench-authority DIRECTORY")?);
    let options = Options {
        store: directory.join("keyring.db").into(),
        master_keys: vec![KeySource::File(directory.join("master.key"))],
        i_know: true,
        ..Options::default()
    };
    let keyring = Arc::new(Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared())?);
    let authority = Arc::new(Authority::new(Arc::clone(&keyring), SystemClock::shared(), &Settings::default())?);
    let bind = |door| Bind { door, address: ([127, 0, 0, 1], 0).into(), tls: None };
    let listeners = Listeners {
        binds: vec![bind(Door::NcloudKms), bind(Door::Crittora)],
        insecure: false,
        workers: 2,
        limits: Limits {
            memory: 64 << 20,
            header: 16 << 10,
            value: 1 << 20,
            in_flight: 1024,
            connections: 1024,
            buffer: 64 << 10,
            decoded: 256 << 20,
            ratio: 200,
        },
        drain: Drain { delay: Duration::ZERO, deadline: Duration::from_secs(5) },
        timeouts: Timeouts::default(),
    };
    let server = Server::start(&listeners, &authority, &Metrics::default())?;
    let at = |door: Door| server.addresses().iter().find(|(d, _)| *d == door).map(|(_, at)| format!("http://{at}"));

    let ncloud = key(&authority, Purpose::NcloudKms, "admin", None, &[ncloud_kms::SECRET_KEY])?;
    authority.credentials.put_user(USER, &SecretBytes::new(PASSWORD.into()), "default")?;
    let crittora = key(&authority, Purpose::Crittora, "default", Some("default"), &["access_key", "secret_key"])?;
    println!(
        "{}",
        serde_json::json!({
            "ncloud": { "url": at(Door::NcloudKms), "access": ncloud.0, "secret": ncloud.1[0].1 },
            "crittora": {
                "url": at(Door::Crittora),
                "headers": {
                    "username": USER, "password": PASSWORD, "api_key": crittora.0,
                    "access_key": crittora.1[0].1, "secret_key": crittora.1[1].1,
                },
            },
        })
    );
    // As in the authority's own process.
    std::thread::spawn(move || {
        loop {
            keyring.tick();
            std::thread::sleep(Duration::from_millis(250));
        }
    });
    // A byte, or the end.
    let _any = std::io::stdin().read(&mut [0])?;
    Ok(())
}

type Key = (String, Vec<(String, String)>);

fn key(
    authority: &Authority,
    purpose: Purpose,
    role: &str,
    partition: Option<&str>,
    secrets: &'static [&'static str],
) -> Result<Key, Box<dyn Error>> {
    let new = NewApiKey {
        purpose,
        label: "benchmark".into(),
        app: None,
        partition: partition.map(str::to_owned),
        role: role.into(),
        expires: 0,
        secrets,
    };
    let (text, key) = authority.credentials.create_api_key(&new)?;
    Ok((String::from_utf8(text.expose().to_vec())?, key.secrets))
}
