//! `sidecloak.yaml` as written. Each section is declared once; its reader, which reports every problem and reads on, and its
//! JSON Schema both come from that declaration.

use schemars::JsonSchema;

use super::node;
use super::profiles::Profiles;
use super::read::{FromNode, Many, Reader, section};
use super::scalar::{
    CallerPurpose, Claims, DurationText, Header, Jwks, Listen, Network, OnAmbiguous, OnInvalidJwt, OrOff, Owner,
    PathCase, Paths, ProxyProtocol, Retry, SecretSource, SizeText, Store, Table, Unmatched, Upstream, UpstreamHost,
    UpstreamProtocol,
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
        /// What is done about upstreams that fail.
        upstream_failures: UpstreamFailures,
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
        /// How long each stage of an exchange may take.
        timeouts: Timeouts,
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
        /// Its certificate, and whom it lets in. Default: in the clear.
        tls: Tls,
        /// Listens beyond loopback without TLS, and no warning says so: something else encrypts the way. Default: false.
        insecure_listen: bool,
        /// Whether connections of `trusted_peers` begin with a header of the PROXY protocol (version 1 or 2), and others are turned
        /// away. Default: `off`.
        proxy_protocol: ProxyProtocol,
        /// Where to forward: `http://host:port`, `https://host:port`, `unix:/PATH`, or a list taken in turn.
        upstream: Many<Upstream>,
        /// What the upstream speaks. Default: `auto` over TLS, else `http1`.
        upstream_protocol: UpstreamProtocol,
        /// TLS to `https://` upstreams.
        upstream_tls: UpstreamTls,
        /// The `Host` that the upstream sees: the client's (`keep`), that of its URL (`upstream`), or this one. Default: `keep`.
        upstream_host: UpstreamHost,
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
        /// What happens to a JSON Web Token that `callers` reads and that is not valid. Default: `reject`.
        on_invalid_jwt: OnInvalidJwt,
        /// Bounds of this listener alone.
        limits: ListenerLimits,
    }
}

section! {
    /// Connections to upstreams, over all workers.
    UpstreamLimits {
        /// In use at once. Default: 64.
        connections: u64,
        /// Exchanges that may wait for one. Default: 256.
        queue: u64,
        /// Kept idle. Default: 16.
        idle: u64,
        /// Kept idle for this long; below the upstream's own time. Default: `4s`.
        idle_timeout: DurationText,
        /// A connection is used for this long. Default: `10m`.
        max_age: DurationText,
        /// How often names of upstreams are looked up. Default: `30s`.
        resolve: DurationText,
    }
}

section! {
    /// What is done about upstreams that fail.
    UpstreamFailures {
        /// What is sent a second time when a kept connection ends before an answer: nothing (`never`), `idempotent` methods, or `any`. Default: `idempotent`.
        retry: Retry,
        /// How long an address that cannot be reached is left out the first time, then twice as long each time. Default: `1s`.
        rest: DurationText,
        /// The longest such time. Default: `30s`.
        longest_rest: DurationText,
        /// Failures in a row that open the circuit breaker. Default: 0, which is none.
        breaker_after: u64,
        /// Exchanges at once that find out whether the upstream is well again. Default: 3.
        breaker_probes: u64,
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
        /// Globs over the names of the client's verified certificate, of which one must match: `spiffe://bank/ns/teller/*`.
        client: Many<String>,
        /// A JSON Web Token that must be valid and say this.
        jwt: CallerJwt,
        /// Headers that must all have exactly these values; believed only from `trusted_peers`.
        header: Table,
        /// The role.
        role: String,
    }
}

section! {
    /// A JSON Web Token, and what it must say.
    CallerJwt {
        /// Where it stands in a request. Default: `authorization`, after `Bearer`.
        header: Header,
        /// The issuer's key set, `file:PATH` or `https://…`; read again when it changes.
        jwks: Jwks,
        /// `iss`, exactly.
        issuer: String,
        /// One of these must be in `aud`.
        audience: Many<String>,
        /// Claims that must all match, such as `scope`; `*` stands for any run of characters. Default: none.
        claims: Claims,
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
        /// Fields of a header section. Default: 100.
        headers: u64,
        /// A request line. Default: `16KiB`.
        request_line: SizeText,
        /// Longest value sealed or opened. Default: `1MiB`.
        value: SizeText,
        /// Largest request body, where neither the listener nor a rule says otherwise. Default: `off`.
        body: OrOff<SizeText>,
        /// Requests at once. Default: 1024.
        in_flight: u64,
        /// Connections at once. Default: 4096.
        connections: u64,
        /// Connections at once of one client address. Default: `off`.
        client_connections: OrOff<u64>,
        /// Requests of one connection before it is closed in order. Default: `off`.
        requests: OrOff<u64>,
        /// A body up to here is checked whole before its first byte is forwarded. Default: `64KiB`.
        buffer: SizeText,
        /// Longest body after its content codings are undone. Default: `256MiB`.
        decoded: SizeText,
        /// How many times longer than it came a coded body may become, beyond its first MiB. Default: 200.
        ratio: u64,
        /// Bytes a second, below which a client that is waited for counts as standing still. Default: `240B`.
        min_rate: OrOff<SizeText>,
        /// Of an HTTP/2 connection of a client.
        http2: Http2Limits,
    }
}

section! {
    /// Bounds of an HTTP/2 connection of a client.
    Http2Limits {
        /// Streams at once. Default: 128.
        streams: u64,
        /// Of a request's body, on its way before it is taken. Default: `64KiB`.
        stream_window: SizeText,
        /// The same of all streams together. Default: `1MiB`.
        connection_window: SizeText,
        /// Requests called back within half a minute, unless they are less than half of all. Default: 100.
        resets: u64,
    }
}

section! {
    /// Bounds of one listener, beside those of the process.
    ListenerLimits {
        /// Requests at once. Default: those of the process.
        in_flight: u64,
        /// Connections at once. Default: those of the process.
        connections: u64,
        /// Largest request body, where no rule says otherwise. Default: that of the process.
        body: OrOff<SizeText>,
    }
}

section! {
    /// How long each stage of an exchange may take.
    Timeouts {
        /// A TLS handshake, or a PROXY protocol header. Default: `10s`.
        handshake: DurationText,
        /// A client's header section, first byte to last. Default: `30s`.
        header: DurationText,
        /// Between two exchanges of a connection. Default: `75s`.
        keep_alive: DurationText,
        /// A client that owes bytes of its request's body. Default: `60s`.
        request_idle: DurationText,
        /// A client that owes it to take bytes of its answer. Default: `60s`.
        send: DurationText,
        /// For a connection of `upstream_limits.connections` to come free. Default: `10s`.
        queue: DurationText,
        /// An upstream accepting a connection. Default: `5s`.
        connect: DurationText,
        /// An upstream beginning its answer. Default: `60s`.
        first_byte: DurationText,
        /// A silence within an answer. Default: `5m`.
        response_idle: DurationText,
        /// A whole exchange. Default: `off`.
        total: OrOff<DurationText>,
        /// A silence of both sides of a tunnel (WebSocket). Default: `1h`.
        tunnel_idle: OrOff<DurationText>,
        /// After which a client's connection is closed in order. Default: `1h`.
        connection_age: OrOff<DurationText>,
        /// Between an HTTP/2 peer's last sign of life and a ping, and for its answer. Default: `30s`.
        ping: DurationText,
    }
}

section! {
    /// How the process stops.
    Drain {
        /// Not ready, still accepting. Default: `5s`.
        delay: DurationText,
        /// Time for running requests to end, from the signal on: `delay` is part of it. Default: `25s`.
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
        /// Its key set, `file:PATH` or `https://…`; read again when it changes.
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
        /// Further certificates, for clients that ask for a name which the first does not have.
        certificates: Vec<At<Identity>>,
        /// PEM file: who may issue client certificates.
        client_ca: String,
        /// Turns clients without a certificate away. Default: false.
        require_client_cert: bool,
        /// Post-quantum key exchange only (X25519MLKEM768, SecP256r1MLKEM768), and TLS 1.3 only. Default: false.
        pq_only: bool,
    }
}

section! {
    /// TLS to an upstream; its certificate is always verified. Files are read again when they change.
    UpstreamTls {
        /// PEM: who may have issued its certificate. Default: the system's roots.
        ca: String,
        /// PEM: the certificate shown to it, then its intermediates.
        cert: String,
        /// PEM: the private key of that, not encrypted.
        key: String,
        /// The name asked for (SNI) and that its certificate must have. Default: the host of the URL.
        server_name: String,
        /// Post-quantum key exchange only, and TLS 1.3 only. Default: false.
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
