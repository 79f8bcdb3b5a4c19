use sidecloak::authority::credentials::*;
use sidecloak::authority::{Authority, crittora};
use sidecloak::clock::SystemClock;
use sidecloak::crypto::kem::KemSuite;
use sidecloak::keyring::{KeySource, Keyring, Options};
use sidecloak::secret::SecretBytes;
use std::sync::Arc;
use std::time::Duration;
fn main() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        path: directory.path().join("keyring.db"),
        master_keys: vec![KeySource::File(directory.path().join("master.key"))],
        i_know: true,
        ..Options::default()
    };
    let keyring = Keyring::init(&options, KemSuite::MlKem768, SystemClock::shared()).unwrap();
    let mut authority = Authority::new(Arc::new(keyring), SystemClock::shared(), Duration::from_secs(300)).unwrap();
    authority.credentials =
        Credentials::with_limits(authority.directory.clone(), &Limits { per_second: 0, burst: 0 }).unwrap();
    authority.credentials.put_user("alice", &SecretBytes::new("correct horse battery".into()), "default").unwrap();
    let (text, key) = authority
        .credentials
        .create_api_key(&NewApiKey {
            purpose: Purpose::Crittora,
            label: "acme".into(),
            app: None,
            partition: Some("default".into()),
            role: "default".into(),
            expires: 0,
            secrets: &["access_key", "secret_key"],
        })
        .unwrap();
    let out = format!(
        "wrk.method='POST'\nwrk.headers['username']='alice'\nwrk.headers['password']='correct horse battery'\nwrk.headers['api_key']='{}'\nwrk.headers['access_key']='{}'\nwrk.headers['secret_key']='{}'\nwrk.headers['content-type']='application/json'\nwrk.body='{{\"data\":\"4111 1111 1111 1111 alice@example.org\"}}'\n",
        std::str::from_utf8(text.expose()).unwrap(),
        key.secrets[0].1,
        key.secrets[1].1
    );
    std::fs::write("/tmp/crittora.lua", out).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:8931").await.unwrap();
        axum::serve(listener, crittora::router(Arc::new(authority))).await.unwrap();
    });
}
