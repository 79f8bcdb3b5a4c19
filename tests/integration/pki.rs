//! Certificates for tests: authorities, what they issue, and files as an orchestrator lays them out.

use std::fs;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::support::{Message, PATIENCE};

/// An authority that issues.
pub struct Ca {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// For 127.0.0.1 and `localhost`.
    pub fn server(&self) -> Pair {
        self.server_at(&["localhost".to_owned(), "127.0.0.1".to_owned()])
    }

    /// For these names and addresses.
    pub fn server_at(&self, names: &[String]) -> Pair {
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(&params)
    }

    /// The same, and over for years.
    pub fn expired_server(&self) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        expire(&mut params);
        self.issue(&params)
    }

    /// Names this URI.
    pub fn client(&self, uri: &str) -> Pair {
        self.issue(&client(uri))
    }

    /// The same, and over for years.
    pub fn expired_client(&self, uri: &str) -> Pair {
        let mut params = client(uri);
        expire(&mut params);
        self.issue(&params)
    }

    fn issue(&self, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }
}

fn expire(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2015, 1, 1);
    params.not_after = date_time_ymd(2016, 1, 1);
}

fn client(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

impl Pair {
    /// `NAME.crt` and `NAME.key`.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
        fs::write(&cert, &self.cert).unwrap();
        private(&key, &self.key);
        (cert, key)
    }
}

/// A file that its owner alone reads.
pub fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// `tls.crt` and `tls.key` as a mounted Secret has them: symlinks through `..data`, which one rename swaps.
pub struct Mounted {
    directory: PathBuf,
    version: u32,
}

impl Mounted {
    pub fn new(directory: &Path, pair: &Pair) -> Self {
        fs::create_dir_all(directory).unwrap();
        let mut mounted = Self { directory: directory.to_owned(), version: 0 };
        mounted.swap(pair);
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), directory.join(name)).unwrap();
        }
        mounted
    }

    pub fn cert(&self) -> PathBuf {
        self.directory.join("tls.crt")
    }

    pub fn key(&self) -> PathBuf {
        self.directory.join("tls.key")
    }

    /// Both files in one step; the old ones go, as the kubelet does it.
    pub fn swap(&mut self, pair: &Pair) {
        self.version += 1;
        let name = format!("..version-{}", self.version);
        let folder = self.directory.join(&name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tls.crt"), &pair.cert).unwrap();
        private(&folder.join("tls.key"), &pair.key);
        let (new, data) = (self.directory.join("..data_tmp"), self.directory.join("..data"));
        symlink(&name, &new).unwrap();
        let old = fs::read_link(&data).ok();
        fs::rename(new, data).unwrap();
        if let Some(old) = old {
            fs::remove_dir_all(self.directory.join(old)).unwrap();
        }
    }
}

/// A connection over TLS to a server on loopback.
pub struct Secure(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Secure {
    pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::to(address, ServerName::try_from("127.0.0.1").unwrap(), config).unwrap()
    }

    /// To a server whose certificate names its address; `None`: nobody listens.
    pub fn at(address: SocketAddr, config: &Arc<ClientConfig>) -> Option<Self> {
        Self::to(address, ServerName::from(address.ip()), config)
    }

    /// By this name.
    pub fn to(address: SocketAddr, name: ServerName<'static>, config: &Arc<ClientConfig>) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        Some(Self(BufReader::new(StreamOwned::new(connection, stream))))
    }

    /// `None`: the connection came to nothing.
    pub fn get(&mut self, target: &str) -> Option<Message> {
        self.call("GET", target, &[], "")
    }

    /// With these headers, and a body unless it is empty.
    pub fn call(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Option<Message> {
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            text += &format!("content-length: {}\r\n", body.len());
        }
        let stream = self.0.get_mut();
        write!(stream, "{text}\r\n{body}").ok()?;
        stream.flush().ok()?;
        Message::read(&mut self.0, false)
    }
}
