//! Reading files with a bound: a configuration that grew to a gigabyte is an error, not an out-of-memory kill.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a whole file of at most `max` bytes; a longer one is an `InvalidData` error that names the limit.
pub fn read_file(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // Room for all of it at once: a buffer that grows leaves pieces of a secret behind on the heap.
    let length = file.metadata()?.len().min(max);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0).saturating_add(1));
    #[expect(clippy::disallowed_methods, reason = "bounded by `take`")]
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("larger than the {max} bytes such a file may have"),
        ));
    }
    Ok(bytes)
}

/// The same for a file of UTF-8 text.
pub fn read_text_file(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(read_file(path, max)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}
