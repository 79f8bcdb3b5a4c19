//! `sidecloak.yaml` as written. Each section is declared once; its reader, which reports every problem and reads on, and its
//! JSON Schema both come from that declaration.

use schemars::JsonSchema;

use super::node;
use super::profiles::Profiles;
use super::read::{FromNode, Many, NotYet, Reader, section};
use super::scalar::{
    CallerPurpose, Claims, DurationText, Header, Jwks, Listen, Network, OnAmbiguous, Owner, PathCase, Paths,
    SecretSource, SizeText, Store, Table, Unmatched, Upstream, UpstreamProtocol,
};
use crate::config::LogLevel;
use crate::report::{Findings, Source};

pub(super) use super::node::At;

/// Reads a document; what cannot be read is reported and left out. `None`: it is no mapping at all. Also the file as findings
/// may show it, without what may be a secret.
pub(super) fn parse(source: &Source, findings: &mut Findings) -> Option<(File, Source)> {
    let root = node::parse(source, findings)?;
    if matches!(root.value, node::Value::Null) {
        return Some((File::default(), source.clone()));
    }
    let mut reader = Reader::new(source, findings);
    let file = File::from_node(&root, &mut reader);
    let shown = reader.shown();
    for (source, _) in findings.0.iter_mut().filter_map(|f| f.place.as_mut()) {
        *source = shown.clone();
    }
    file.map(|file| (file, shown))
}

section! {
    /// The configuration of a Sidecloak process, besides its rules.
    #[schemars(title = "sidecloak.yaml")]
    File {
        /// Front doors, each with its upstream.
        listeners: Vec<At<Listener>>,
        /// Worker threads. Default: the smaller of 2 and the CPUs that the control group allows.
        workers: u64,
        /// Connections to upstreams, over all workers.
        upstream_limits: UpstreamLimits,
        /// A file or directory of rules. Default: `rules/` if it is there.
        rules: String,
        /// Where keys are.
        keyring: Keyring,
        /// Maps callers to roles; the first match wins, no match is role `default`.
        callers: Vec<At<Caller>>,
        /// `/livez`, `/readyz` and `/metrics`, nothing else.
        probe: Probe,
        /// The admin interface.
        admin: Admin,
        /// Bounds of the process.
        limits: Limits,
        /// How the process stops.
        drain: Drain,
        /// The service of `sidecloak authority`.
        authority: Authority,
        /// Managed APIs that rules may name as `key`, by name.
        profiles: Profiles,
        /// What is logged.
        telemetry: Telemetry,
    }
}

section! {
    /// One front door.
    Listener {
        /// Unique; rules name it in `match.listener`. Default of the first: `front`.
        name: String,
        /// Where to listen: `127.0.0.1:8080`, `unix:/PATH`, or a list. Default: `127.0.0.1:8080`.
        bind: Many<Listen>,
        /// Not available yet.
        tls: NotYet,
        /// Where to forward: `http://host:port`, `unix:/PATH`, or a list taken in turn.
        upstream: Many<Upstream>,
        /// What the upstream speaks. Default: `http1`.
        upstream_protocol: UpstreamProtocol,
        /// What happens to a request that no rule matches. Default: `pass`.
        unmatched: Unmatched,
        /// What happens to a path that can be read two ways. Default: `reject`.
        on_ambiguous: OnAmbiguous,
        /// Whether the application ignores case in paths. Default: `sensitive`.
        case: PathCase,
        /// Peers whose forwarding headers and `trusted_headers` are believed. Default: none.
        trusted_peers: Many<Network>,
        /// Headers believed only from `trusted_peers`, dropped from all others. Default: none.
        trusted_headers: Many<Header>,
        /// Peers that may be shown plaintext. Default: any.
        open_for: Many<Network>,
    }
}

section! {
    /// Connections to upstreams, over all workers.
    UpstreamLimits {
        /// Open at once. Default: 64.
        connections: u64,
        /// Kept idle. Default: 16.
        idle: u64,
        /// Kept idle for this long; below the upstream's own time. Default: `4s`.
        idle_timeout: DurationText,
    }
}

section! {
    /// Where keys are.
    Keyring {
        /// `sqlite:PATH`, `postgres://USER@HOST:PORT/DATABASE`, or an authority: `https://HOST`. Default: `sqlite:./sidecloak.db`.
        store: Store,
        /// The database's password, if it is not in the URL: `file:PATH` or `env:NAME`. Default: the variable `PGPASSWORD`.
        store_password: SecretSource,
        /// `file:PATH` or `env:NAME`, or a list: the first wraps, any unwraps. Default: `file:./master.key`, or none with `owner`.
        master_key: Many<SecretSource>,
        /// Hex of the owner's key id, pinned by a process without the master key.
        owner: Owner,
        /// The issuer key of a process that only encrypts: `file:PATH` or `env:NAME` (`sidecloak keys encrypt-only`).
        issuer: SecretSource,
        /// The private key of this process's own recipient: `file:PATH` or `env:NAME` (`sidecloak keys recipient`).
        recipient: SecretSource,
        /// The API key shown to the authority: `file:PATH` or `env:NAME`.
        api_key: SecretSource,
        /// The token shown to the authority instead, such as a Kubernetes service account's: `file:PATH`, read for each call.
        token: SecretSource,
        /// PEM: who may have issued the authority's certificate. Default: the system's roots.
        ca: String,
        /// The certificate shown to the authority.
        identity: Identity,
        /// Accept an authority at `http://` beyond loopback, for trials. Default: false.
        insecure: bool,
        /// Recovery recipients written into each new partition: `file:PATH` or `env:NAME`, or a list.
        recovery: Many<SecretSource>,
        /// A directory that gets every epoch record, synced, before its first use.
        mirror: String,
        /// How old the known state of a partition may be; 0: nothing is sealed or opened without the store. Default: `5m`.
        max_stale: DurationText,
        /// How long an epoch for random tokens seals. Default: `24h`.
        epoch_lifetime: DurationText,
        /// Seal only under epochs that an opener has confirmed. Default: false.
        require_confirmed: bool,
    }
}

section! {
    /// A certificate with its private key.
    Identity {
        /// PEM: the certificate, then its intermediates.
        cert: String,
        /// PEM: its private key.
        key: String,
    }
}

section! {
    /// Gives a caller a role.
    Caller {
        /// Not available yet.
        client: NotYet,
        /// Not available yet.
        jwt: NotYet,
        /// Headers that must all have exactly these values; believed only from `trusted_peers`.
        header: Table,
        /// The role.
        role: String,
    }
}

section! {
    /// The probe port.
    Probe {
        /// Any address, such as `0.0.0.0:9902`.
        bind: Listen,
    }
}

section! {
    /// The admin interface.
    Admin {
        /// `unix:/PATH`, or a loopback address together with `token`.
        bind: Listen,
        /// `file:PATH` or `env:NAME`.
        token: SecretSource,
    }
}

section! {
    /// Bounds of the process.
    Limits {
        /// All buffers together: a share of the control group's limit, or a size. Default: `60%`.
        memory: SizeText,
        /// Header section of a message. Default: `32KiB`.
        header: SizeText,
        /// Longest value sealed or opened. Default: `1MiB`.
        value: SizeText,
        /// Requests at once. Default: 1024.
        in_flight: u64,
        /// Connections at once. Default: 4096.
        connections: u64,
        /// A body up to here is checked whole before its first byte is forwarded. Default: `64KiB`.
        buffer: SizeText,
        /// Longest body after its content codings are undone. Default: `256MiB`.
        decoded: SizeText,
        /// How many times longer than it came a coded body may become, beyond its first MiB. Default: 200.
        ratio: u64,
    }
}

section! {
    /// How the process stops.
    Drain {
        /// Not ready, still accepting. Default: `5s`.
        delay: DurationText,
        /// Time for running requests after that. Default: `25s`.
        deadline: DurationText,
    }
}

section! {
    /// The service of `sidecloak authority`: our own API for sidecars and management, and a listener for each further API that has
    /// a section here.
    Authority {
        /// Where `/keyring/v1` and `/manage/v1` are. Default: `127.0.0.1:8440`.
        bind: Listen,
        /// For every listener that has none of its own.
        tls: Tls,
        /// Crittora's API.
        crittora: Door,
        /// Crypteron's management API.
        crypteron: Door,
        /// NAVER Cloud KMS's API.
        ncloud_kms: Door,
        /// ExeQuantum's API.
        exequantum: Door,
        /// Listens beyond loopback without TLS. Default: false.
        insecure_listen: bool,
        /// Who comes in by client certificate; the first that matches counts.
        certificates: Vec<At<Certificate>>,
        /// Whose JSON Web Tokens are believed.
        issuers: Vec<At<Issuer>>,
        /// How often one identity may ask, at each process.
        rate: Rate,
    }
}

section! {
    /// What a client certificate gives.
    Certificate {
        /// Matches one of its names as a whole: `spiffe://bank/ns/teller/*`; `*` stands for any run of characters.
        name: String,
        /// What its holder is let in for.
        purpose: CallerPurpose,
        /// For `management`: `admin`, `operator` or `auditor`; else the role in partitions.
        role: String,
        /// Only partitions of this application. Default: of all.
        app: String,
        /// Only partitions whose names match one of these. Default: all.
        partitions: Many<String>,
    }
}

section! {
    /// An issuer of JSON Web Tokens, such as a Kubernetes cluster.
    Issuer {
        /// `iss`, exactly.
        issuer: String,
        /// One of these must be in `aud`.
        audience: Many<String>,
        /// Its key set, `file:PATH`; read again when it changes.
        jwks: Jwks,
        /// What its tokens give; the first that matches counts.
        rules: Vec<At<TokenRule>>,
    }
}

section! {
    /// What a token gives.
    TokenRule {
        /// Claims that must all match, such as `sub`; `*` stands for any run of characters.
        claims: Claims,
        /// What its holder is let in for.
        purpose: CallerPurpose,
        /// For `management`: `admin`, `operator` or `auditor`; else the role in partitions.
        role: String,
        /// Only partitions of this application. Default: of all.
        app: String,
        /// Only partitions whose names match one of these. Default: all.
        partitions: Many<String>,
    }
}

section! {
    /// How often one identity may ask.
    Rate {
        /// Calls, over time; 0: as many as it likes. Default: 50000.
        per_second: u64,
        /// Calls at once. Default: 100000.
        burst: u64,
    }
}

section! {
    /// The listener of one API.
    Door {
        /// Where: a numeric address with a port.
        bind: Listen,
        /// Instead of `authority.tls`.
        tls: Tls,
    }
}

section! {
    /// TLS of a listener; files are read again when they change.
    Tls {
        /// PEM file: the certificate, then its intermediates.
        cert: String,
        /// PEM file: its private key, not encrypted.
        key: String,
        /// PEM file: who may issue client certificates.
        client_ca: String,
        /// Turns clients without a certificate away. Default: false.
        require_client_cert: bool,
        /// Post-quantum key exchange only (X25519MLKEM768, SecP256r1MLKEM768), and TLS 1.3 only. Default: false.
        pq_only: bool,
    }
}

section! {
    /// What is logged.
    Telemetry {
        /// The threshold. Default: `info`.
        log: LogLevel,
        /// What stands for a path: `route`, the rule's pattern. Nothing else is available yet.
        paths: Paths,
    }
}
