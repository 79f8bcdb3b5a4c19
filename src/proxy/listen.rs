//! Sockets to listen on. Nothing is shared with another process by accident.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::settings::Address;

const BACKLOG: i32 = 1024;
/// Of silence, before the system asks whether a client is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long bytes may wait for a client to take them.
const STALLED: Duration = Duration::from_secs(300);

/// One bound address, as each worker gets it.
#[derive(Debug)]
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket per worker on `address`, and the address with its real port.
pub(super) fn bind(address: &Address, workers: usize) -> io::Result<(Address, Vec<Listening>)> {
    match address {
        Address::Tcp(address) => tcp(*address, workers),
        Address::Unix(path) => unix(path, workers),
        Address::Host(..) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "write a numeric address, such as 127.0.0.1:8080"))
        }
    }
}

/// SO_REUSEPORT would let two processes share the port silently, so one plain bind proves it free first. A single
/// worker keeps that socket.
fn tcp(address: SocketAddr, workers: usize) -> io::Result<(Address, Vec<Listening>)> {
    let first = tcp_socket(address, false)?;
    let bound = first.local_addr()?;
    if workers <= 1 {
        return Ok((Address::Tcp(bound), vec![Listening::Tcp(first)]));
    }
    // Held while the others bind, so that no other process comes between.
    let first = Socket::from(first);
    first.set_reuse_port(true)?;
    let sockets = (0..workers).map(|_| tcp_socket(bound, true).map(Listening::Tcp)).collect::<io::Result<_>>()?;
    drop(first);
    Ok((Address::Tcp(bound), sockets))
}

pub(crate) fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restart bind while old connections are in TIME_WAIT; never lets two listeners share a port.
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit these: a client that is gone, or takes nothing of its answer, is cut.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(STALLED))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn unix(path: &Path, workers: usize) -> io::Result<(Address, Vec<Listening>)> {
    let first = unix_socket(path)?;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(Listening::Unix(first.try_clone()?));
    }
    sockets.push(Listening::Unix(first));
    Ok((Address::Unix(path.to_owned()), sockets))
}

/// Binds a unix socket; one that a dead process left is removed, one that answers is in use.
pub(crate) fn unix_socket(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is no socket; remove it"));
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Ok(_) | Err(_) => return Err(io::ErrorKind::AddrInUse.into()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Removes a socket's file when dropped, unless another process has put its own there.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Of a socket just bound.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let meta = fs::symlink_metadata(path).ok()?;
        Some(Self { path: path.to_owned(), identity: (meta.dev(), meta.ino()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity) {
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Address {
        Address::Tcp(([127, 0, 0, 1], 0).into())
    }

    #[test]
    fn a_port_in_use_is_noticed_even_if_shared() {
        for workers in [1, 3] {
            let (bound, sockets) = bind(&any(), workers).unwrap();
            assert_eq!(sockets.len(), workers);
            for second in [1, 3] {
                assert_eq!(bind(&bound, second).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            }
            drop(sockets);
            bind(&bound, workers).unwrap();
        }
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = Address::Unix(path.clone());
        let (_, first) = bind(&address, 2).unwrap();
        assert_eq!(bind(&address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(path.exists(), "left behind");
        let (_, second) = bind(&address, 1).unwrap();
        drop((SocketFile::of(&path), second));
        assert!(!path.exists());
        fs::write(&path, "a file").unwrap();
        assert_eq!(bind(&address, 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
