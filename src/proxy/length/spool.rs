//! Bytes that wait in an unlinked temporary file, in chunks that are encrypted under a key of this one body.

use std::fs::File;
use std::io::{Error, Read as _, Result, Seek as _, Write as _};

use bytes::Bytes;
use tokio::task::spawn_blocking;

use crate::crypto::aead::{Gcm, TAG};
use crate::crypto::random;

/// Encrypted at once.
pub(super) const CHUNK: usize = 64 * 1024;

pub(super) struct Spool {
    file: File,
    cipher: Gcm,
    /// Not written yet.
    chunk: Vec<u8>,
    /// Chunks written, or read since.
    count: u64,
    written: Option<u64>,
}

impl Spool {
    /// In `TMPDIR`, or `/tmp`. The file never has a name, so it goes with the process, however that ends.
    pub(super) fn new() -> Result<Self> {
        let key: [u8; 32] = random::bytes().map_err(Error::other)?;
        let cipher = Gcm::new(&key);
        Ok(Self { file: tempfile::tempfile()?, cipher, chunk: Vec::with_capacity(CHUNK), count: 0, written: None })
    }

    pub(super) async fn write(mut self, mut data: &[u8]) -> Result<Self> {
        while !data.is_empty() {
            let room = CHUNK - self.chunk.len();
            let (head, rest) = data.split_at_checked(room).unwrap_or((data, &[]));
            self.chunk.extend_from_slice(head);
            data = rest;
            if self.chunk.len() == CHUNK {
                self = blocking(self, Self::put).await?.0;
            }
        }
        Ok(self)
    }

    /// The next chunk, from the first one on; `None` behind the last.
    pub(super) async fn read(self) -> Result<(Self, Option<Bytes>)> {
        blocking(self, Self::take).await
    }

    fn put(&mut self) -> Result<()> {
        let tag = self.cipher.seal(&nonce(self.count), &[], &mut self.chunk).map_err(|_| Error::other("sealing"))?;
        self.file.write_all(&self.chunk)?;
        self.file.write_all(&tag)?;
        self.chunk.clear();
        self.count += 1;
        Ok(())
    }

    fn take(&mut self) -> Result<Option<Bytes>> {
        let written = match self.written {
            Some(written) => written,
            None => {
                self.file.rewind()?;
                let written = std::mem::take(&mut self.count);
                *self.written.insert(written)
            }
        };
        if self.count == written {
            let last = std::mem::take(&mut self.chunk);
            return Ok((!last.is_empty()).then(|| last.into()));
        }
        let mut chunk = vec![0; CHUNK];
        let mut tag = [0; TAG];
        self.file.read_exact(&mut chunk)?;
        self.file.read_exact(&mut tag)?;
        self.cipher.open(&nonce(self.count), &[], &mut chunk, &tag).map_err(|_| Error::other("changed"))?;
        self.count += 1;
        Ok(Some(chunk.into()))
    }
}

/// Off the worker, on which other exchanges run.
async fn blocking<T: Send + 'static>(
    mut spool: Spool,
    work: impl FnOnce(&mut Spool) -> Result<T> + Send + 'static,
) -> Result<(Spool, T)> {
    let done = spawn_blocking(move || {
        let done = work(&mut spool);
        (spool, done)
    });
    let (spool, done) = done.await.map_err(Error::other)?;
    Ok((spool, done?))
}

/// One key, one file: a count is never repeated.
fn nonce(count: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&count.to_be_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use std::io::SeekFrom;

    use super::*;

    #[tokio::test]
    async fn what_waits_comes_back_and_is_nowhere_in_the_file() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7] {
            let data: Vec<u8> = b"canary-".iter().copied().cycle().take(length).collect();
            let mut spool = Spool::new().unwrap();
            for piece in data.chunks(10_007) {
                spool = spool.write(piece).await.unwrap();
            }
            let mut on_disk = vec![0; usize::try_from(spool.file.metadata().unwrap().len()).unwrap()];
            spool.file.seek(SeekFrom::Start(0)).unwrap();
            (&spool.file).read_exact(&mut on_disk).unwrap();
            assert_eq!(on_disk.len(), length / CHUNK * (CHUNK + TAG));
            assert!(!on_disk.windows(7).any(|w| w == b"canary-"));
            let mut back = Vec::new();
            while let (rest, Some(piece)) = spool.read().await.unwrap() {
                back.extend_from_slice(&piece);
                spool = rest;
            }
            assert!(back == data, "{length}");
        }
    }

    #[tokio::test]
    async fn what_somebody_changed_is_an_error() {
        let mut spool = Spool::new().unwrap().write(&[7; 2 * CHUNK]).await.unwrap();
        spool.file.seek(SeekFrom::Start(5)).unwrap();
        spool.file.write_all(b"x").unwrap();
        assert!(spool.read().await.is_err());
    }
}
