//! `sidecloak authority`: the service that a fleet shares.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;

use super::common::{KeyringArgs, LogArg};
use super::exit::Failure;
use super::out::Out;
use super::run::{Signals, level};
use crate::app::{self, authority::AuthorityApp};
use crate::authority::face::Face;
use crate::clock::SystemClock;
use crate::config::{AuthorityOverrides, Overrides, Purpose};
use crate::telemetry::{self, Format};

/// See `sidecloak authority --help`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Where sidecars (/keyring/v1) and management (/manage/v1) are served [default: 127.0.0.1:8440]
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_LISTEN")]
    pub listen: Option<String>,
    /// Serve Crittora's API there
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_CRITTORA")]
    pub crittora: Option<String>,
    /// Serve Crypteron's management API there
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_CRYPTERON")]
    pub crypteron: Option<String>,
    /// Serve NAVER Cloud KMS's API there
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_NCLOUD_KMS")]
    pub ncloud_kms: Option<String>,
    /// Serve ExeQuantum's API there
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_EXEQUANTUM")]
    pub exequantum: Option<String>,
    /// PEM file of the listeners' certificate and its intermediates; read again when it changes
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// PEM file of who may issue client certificates
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_CLIENT_CA")]
    pub client_ca: Option<PathBuf>,
    /// Turn clients without a certificate away
    #[arg(long, env = "SIDECLOAK_REQUIRE_CLIENT_CERT", value_parser = FalseyValueParser::new())]
    pub require_client_cert: bool,
    /// Post-quantum key exchange only
    #[arg(long, env = "SIDECLOAK_PQ_ONLY", value_parser = FalseyValueParser::new())]
    pub pq_only: bool,
    /// Listen beyond loopback without TLS
    #[arg(long, env = "SIDECLOAK_INSECURE_LISTEN", value_parser = FalseyValueParser::new())]
    pub insecure_listen: bool,
    /// Where to answer /livez, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_PROBE")]
    pub probe: Option<String>,
    /// Threads that serve [default: the CPUs allowed]
    #[arg(long, value_name = "N", env = "SIDECLOAK_WORKERS")]
    pub workers: Option<usize>,
    /// Log from this level on [default: info]
    #[arg(long, value_name = "LEVEL", env = "SIDECLOAK_LOG")]
    pub log: Option<LogArg>,
    /// Make a missing keyring and master key, and keep them anywhere. Not for production
    #[arg(long, env = "SIDECLOAK_DEV", value_parser = FalseyValueParser::new())]
    pub dev: bool,
    /// Print the OpenAPI document of an API, and end
    #[arg(long, value_name = "API")]
    pub openapi: Option<FaceArg>,
    #[command(flatten)]
    pub keyring: KeyringArgs,
}

/// The values of `--openapi`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FaceArg {
    Keyring,
    Management,
    Crittora,
    Crypteron,
    NcloudKms,
    Exequantum,
}

impl From<FaceArg> for Face {
    fn from(arg: FaceArg) -> Self {
        match arg {
            FaceArg::Keyring => Self::Keyring,
            FaceArg::Management => Self::Management,
            FaceArg::Crittora => Self::Crittora,
            FaceArg::Crypteron => Self::Crypteron,
            FaceArg::NcloudKms => Self::NcloudKms,
            FaceArg::Exequantum => Self::Exequantum,
        }
    }
}

impl Args {
    /// What these flags lay over the file.
    fn overrides(&self) -> Overrides {
        Overrides {
            probe: self.probe.clone(),
            workers: self.workers,
            log: self.log.map(Into::into),
            dev: self.dev,
            authority: AuthorityOverrides {
                listen: self.listen.clone(),
                crittora: self.crittora.clone(),
                crypteron: self.crypteron.clone(),
                ncloud_kms: self.ncloud_kms.clone(),
                exequantum: self.exequantum.clone(),
                tls_cert: self.tls_cert.clone(),
                tls_key: self.tls_key.clone(),
                client_ca: self.client_ca.clone(),
                require_client_cert: self.require_client_cert,
                pq_only: self.pq_only,
                insecure_listen: self.insecure_listen,
            },
            ..self.keyring.overrides()
        }
    }
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    if let Some(face) = args.openapi {
        let document = serde_json::to_string_pretty(&Face::from(face).openapi())
            .map_err(|_| Failure::internal("the document cannot be printed"))?;
        return out.line(&document);
    }
    // Before the first key is read. Where the system forbids it, the process still serves, and says so.
    let hardened = telemetry::harden();
    let (config, warnings) = args.keyring.read(&args.overrides(), Purpose::Authority)?;
    telemetry::init(level(config.log), Format::of_stderr());
    if let Err(error) = hardened {
        tracing::warn!(%error, "core dumps and ptrace could not be turned off");
    }
    app::warn(&warnings);
    let signals = Signals::listen()?;
    let app = AuthorityApp::start(&config, &SystemClock::shared())?;
    for (door, address) in app.addresses() {
        tracing::info!(listener = door.name(), %address, "listening");
    }
    let stopper = app.stopper();
    signals.lead_to(move || stopper.signal());
    app.wait();
    tracing::info!("stopped");
    Ok(())
}
