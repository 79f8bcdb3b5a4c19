//! What the file system must grant: file systems that keep data, files that others cannot read, writes that are on disk.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

use super::KeyringError;

/// Magic numbers of statfs(2) and why such a file system loses keys.
const UNSAFE: [(u64, &str, &str); 8] = [
    (0x0102_1994, "tmpfs", "is gone after a restart"),
    (0x8584_58f6, "ramfs", "is gone after a restart"),
    (0x794c_7630, "overlay", "is gone with its container"),
    (0x6969, "nfs", "does not keep SQLite's locks and syncs"),
    (0xff53_4d42, "cifs", "does not keep SQLite's locks and syncs"),
    (0xfe53_4d42, "cifs", "does not keep SQLite's locks and syncs"),
    (0x517b, "smb", "does not keep SQLite's locks and syncs"),
    (0x6573_5546, "fuse", "may not keep SQLite's locks and syncs"),
];

/// Refuses a directory on a file system that loses data. Without the keyring every token is lost.
pub fn check_file_system(path: &Path) -> Result<(), KeyringError> {
    let directory = parent(path);
    let stat = rustix::fs::statfs(directory)
        .map_err(|e| KeyringError::Unavailable(format!("cannot look at {}: {e}", directory.display())))?;
    // The field's width differs by platform; magic numbers have 32 bits.
    let magic = stat.f_type as u64 & 0xffff_ffff;
    match unsafe_file_system(magic) {
        None => Ok(()),
        Some((name, why)) => Err(KeyringError::NoKey(format!(
            "the keyring {} would lie on {name}, which {why}, and with it every sealed value; \
             put it on a persistent volume, or pass `--i-know`",
            path.display()
        ))),
    }
}

fn unsafe_file_system(magic: u64) -> Option<(&'static str, &'static str)> {
    UNSAFE.iter().find(|(m, ..)| *m == magic).map(|(_, name, why)| (*name, *why))
}

/// Refuses a file that others may read or write. The group may: Kubernetes mounts secrets 0440 or 0640 under `fsGroup`.
pub fn check_private(path: &Path, what: &str) -> Result<(), KeyringError> {
    let metadata = std::fs::metadata(path)
        .map_err(|e| KeyringError::NoKey(format!("{what} {} cannot be read: {e}", path.display())))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 == 0 {
        return Ok(());
    }
    Err(KeyringError::NoKey(format!(
        "{what} {} is open to every user (mode {mode:04o}); run `chmod 600 {0}` and, if others had access, rotate it",
        path.display()
    )))
}

/// Writes a new file (0600) that is on disk, name and content, when this returns. `AlreadyExists` leaves the old one. It gets
/// its name when it is whole: half a key would stand in the way of the next try, or be read by another process.
pub fn write_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = NamedTempFile::new_in(parent(path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|e| e.error)?;
    sync_directory(path)
}

/// The same, replacing what was there in one step.
pub fn write_over(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let temporary = Path::new(&name);
    if let Err(error) = std::fs::remove_file(temporary)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error);
    }
    write_new(temporary, content)?;
    std::fs::rename(temporary, path)?;
    sync_directory(path)
}

/// Makes a change of a directory's entries durable.
pub fn sync_directory(of: &Path) -> std::io::Result<()> {
    File::open(parent(of))?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volatile_and_remote_file_systems_are_known() {
        assert_eq!(unsafe_file_system(0x0102_1994).unwrap().0, "tmpfs");
        assert_eq!(unsafe_file_system(0x794c_7630).unwrap().0, "overlay");
        assert!(unsafe_file_system(0xef53).is_none(), "ext4");
        assert!(unsafe_file_system(0x5846_5342).is_none(), "xfs");
    }

    #[test]
    fn a_volatile_file_system_is_refused_by_name() {
        let Ok(stat) = rustix::fs::statfs("/dev/shm") else { return };
        if stat.f_type as u64 == 0x0102_1994 {
            let text = check_file_system(Path::new("/dev/shm/keyring.db")).unwrap_err().to_string();
            assert!(text.contains("tmpfs") && text.contains("--i-know"), "{text}");
        }
    }

    #[test]
    fn a_file_open_to_others_is_refused_and_one_for_the_group_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write_new(&path, b"x").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        check_private(&path, "the key").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        check_private(&path, "the key").unwrap();
        for mode in [0o604, 0o602, 0o666] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let text = check_private(&path, "the key").unwrap_err().to_string();
            assert!(text.contains("chmod 600"), "{text}");
        }
        assert_eq!(write_new(&path, b"y").unwrap_err().kind(), ErrorKind::AlreadyExists);
        write_over(&path, b"z").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
