//! `sidecloak injector`: the admission webhook that puts the sidecar into pods.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::common::LogArg;
use super::exit::{Exit, Failure};
use super::run::{Signals, level};
use crate::app::injector::{InjectorApp, Settings};
use crate::clock::SystemClock;
use crate::config::LogLevel;
use crate::injector::{self, is_object_name};
use crate::telemetry::{self, Format};
use crate::tls::ServerTls;

/// See `sidecloak injector --help`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the API server calls: /mutate and /validate
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// PEM file of the webhook's certificate and its intermediates; read again when it changes
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_TLS_CERT")]
    pub tls_cert: PathBuf,
    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_TLS_KEY")]
    pub tls_key: PathBuf,
    /// PEM file of who may issue the API server's client certificate; callers without one are turned away
    #[arg(long, value_name = "FILE", env = "SIDECLOAK_CLIENT_CA")]
    pub client_ca: Option<PathBuf>,
    /// Where to answer /livez, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS", env = "SIDECLOAK_PROBE")]
    pub probe: Option<SocketAddr>,
    /// Image of the sidecar [default: sidecloak:VERSION]
    #[arg(long, value_name = "IMAGE", env = "SIDECLOAK_IMAGE")]
    pub image: Option<String>,
    /// ConfigMap of pods that name none
    #[arg(long, value_name = "NAME", env = "SIDECLOAK_CONFIG_MAP", default_value = "sidecloak")]
    pub config_map: String,
    /// Secret of pods that name none
    #[arg(long, value_name = "NAME", env = "SIDECLOAK_SECRET", default_value = "sidecloak")]
    pub secret: String,
    /// Where sidecars listen in pods that do not say
    #[arg(long, value_name = "PORT", env = "SIDECLOAK_SIDECAR_PORT", default_value_t = 15080,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub sidecar_port: u16,
    /// What a sidecar asks of a CPU
    #[arg(long, value_name = "QUANTITY", env = "SIDECLOAK_CPU_REQUEST", default_value = "50m")]
    pub cpu_request: String,
    /// What a sidecar asks of the memory
    #[arg(long, value_name = "QUANTITY", env = "SIDECLOAK_MEMORY_REQUEST", default_value = "64Mi")]
    pub memory_request: String,
    /// The most memory that a sidecar may take
    #[arg(long, value_name = "QUANTITY", env = "SIDECLOAK_MEMORY_LIMIT", default_value = "256Mi")]
    pub memory_limit: String,
    /// Namespace in which the injector runs itself, whose pods it leaves as they are
    #[arg(long, value_name = "NAME", env = "SIDECLOAK_NAMESPACE")]
    pub namespace: Option<String>,
    /// Further namespace whose pods are left as they are, beside kube-system, kube-public and kube-node-lease; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "SIDECLOAK_EXCLUDE_NAMESPACE")]
    pub exclude_namespace: Vec<String>,
    /// Log from this level on
    #[arg(long, value_name = "LEVEL", env = "SIDECLOAK_LOG", default_value = "info")]
    pub log: LogArg,
}

impl Args {
    fn settings(&self) -> Result<Settings, Failure> {
        let default = injector::Settings::default();
        let injector = injector::Settings {
            image: self.image.clone().unwrap_or(default.image),
            config_map: self.config_map.clone(),
            secret: self.secret.clone(),
            port: self.sidecar_port,
            cpu_request: self.cpu_request.clone(),
            memory_request: self.memory_request.clone(),
            memory_limit: self.memory_limit.clone(),
            excluded: self.excluded(),
        };
        // A pod that no API server takes would be the fault of whoever created it.
        let wrong = |flag: &str, what: &str| {
            Err(Failure::new(Exit::Usage, format!("--{flag} is no {what}")).help("correct it"))
        };
        if injector.image.is_empty() || !injector.image.bytes().all(|b| b.is_ascii_graphic()) {
            return wrong("image", "name of an image");
        }
        for (flag, name) in [("config-map", &injector.config_map), ("secret", &injector.secret)] {
            if !is_object_name(name) {
                return wrong(flag, "name that Kubernetes takes (lower-case letters, digits, `-` and `.`)");
            }
        }
        let quantities = [
            ("cpu-request", &injector.cpu_request),
            ("memory-request", &injector.memory_request),
            ("memory-limit", &injector.memory_limit),
        ];
        for (flag, text) in quantities {
            if !is_quantity(text) {
                return wrong(flag, "quantity of Kubernetes, such as 50m or 64Mi");
            }
        }
        let tls = ServerTls {
            cert: self.tls_cert.clone(),
            key: self.tls_key.clone(),
            client_ca: self.client_ca.clone(),
            require_client: self.client_ca.is_some(),
            ..ServerTls::default()
        };
        Ok(Settings { listen: self.listen, tls, probe: self.probe, injector })
    }

    /// A webhook that its own pods or the cluster's depend on would keep them from starting.
    fn excluded(&self) -> Vec<String> {
        let system = ["kube-system", "kube-public", "kube-node-lease"].map(String::from);
        system.into_iter().chain(self.namespace.clone()).chain(self.exclude_namespace.iter().cloned()).collect()
    }
}

fn is_quantity(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let unit = text.get(digits.len()..).unwrap_or_default();
    let number = |text: &str| !text.is_empty() && text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit());
    number(whole) && number(part) && ["", "m", "k", "M", "G", "Ki", "Mi", "Gi"].contains(&unit)
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let settings = args.settings()?;
    let hardened = telemetry::harden();
    telemetry::init(level(LogLevel::from(args.log)), Format::of_stderr());
    if let Err(error) = hardened {
        tracing::warn!(%error, "core dumps and ptrace could not be turned off");
    }
    let signals = Signals::listen()?;
    let app = InjectorApp::start(&settings, &SystemClock::shared())?;
    if let Some(address) = app.address() {
        tracing::info!(listener = "injector", %address, image = settings.injector.image, "listening");
    }
    let stopper = app.stopper();
    signals.lead_to(move || stopper.signal());
    app.wait();
    tracing::info!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for right in ["50m", "1", "0.5", "64Mi", "1.5Gi", "250M"] {
            assert!(is_quantity(right), "{right}");
        }
        for wrong in ["", "m", "1 Mi", "1mi", "-1", ".5", "1.", "1e3", "1Mi\n", "1.2.3"] {
            assert!(!is_quantity(wrong), "{wrong}");
        }
    }
}
