//! Where bytes come from, and a look at their beginning.

use std::io::{self, Read};

/// Where bytes come from.
pub(crate) type Reader = Box<dyn Read + Send>;

/// How much is read at once.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// Reads the beginning of an input: until it is enough, the input ends, or so many bytes are there.
/// A pipe gives what it has, and is not waited for longer than that.
pub(super) fn peek(
    reader: &mut Reader,
    bytes_max: usize,
    enough: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let mut chunk = vec![0; bytes_max];
    while start.len() < bytes_max && !enough(&start) {
        match reader.read(&mut chunk[..bytes_max - start.len()]) {
            Ok(0) => break,
            Ok(n) => start.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(start)
}
