//! gzip and zstd inputs, told by their first bytes and unpacked as they are read.
//!
//! Memory is bounded by the decoders' windows (128 MiB at most for zstd). Time and disk are bounded
//! by a ratio: no log is a thousand times smaller when packed, a decompression bomb is.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use super::bytes::{CHUNK_BYTES, Reader, peek};

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// How many bytes may come out of each byte that went in, once [`UNPACKED_FREE`] came out.
const RATIO_MAX: u64 = 1000;
/// So much may come out of any input.
const UNPACKED_FREE: u64 = 64 << 20;

/// The input, unpacked where it is packed. What is packed twice is unpacked once.
pub(super) fn unpack(mut reader: Reader) -> io::Result<Reader> {
    let start = peek(&mut reader, 4, |start| {
        [GZIP, ZSTD].iter().all(|magic| !magic.starts_with(start) || start.len() >= magic.len())
    })?;
    let magic = [GZIP, ZSTD].into_iter().find(|magic| start.starts_with(magic));
    let reader: Reader = Box::new(Cursor::new(start).chain(reader));
    let packed = Arc::new(AtomicU64::new(0));
    let counted = Counted { reader, bytes: Arc::clone(&packed) };
    let counted = BufReader::with_capacity(CHUNK_BYTES, counted);
    let unpacked: Reader = match magic {
        Some(GZIP) => Box::new(MultiGzDecoder::new(counted)),
        Some(_) => Box::new(zstd::stream::read::Decoder::with_buffer(counted)?),
        None => return Ok(Box::new(counted)),
    };
    Ok(Box::new(Bounded { reader: unpacked, packed, unpacked: 0 }))
}

/// Counts what is read.
struct Counted {
    reader: Reader,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Fails where too much comes out of too little.
struct Bounded {
    reader: Reader,
    packed: Arc<AtomicU64>,
    unpacked: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.unpacked += n as u64;
        let packed = self.packed.load(Ordering::Relaxed);
        if self.unpacked > UNPACKED_FREE && self.unpacked / RATIO_MAX > packed {
            let text = format!(
                "it unpacks to over {RATIO_MAX} times its size, as a decompression bomb does: \
                 unpack it first if that is meant"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        unpack(Box::new(Cursor::new(bytes)))?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn packed_inputs_are_told_by_their_first_bytes() {
        let text = b"{\"action\":\"block\"}\n";
        let two = [gzip(text), gzip(text)].concat();
        let zstd = zstd::bulk::compress(text, 3).unwrap();
        assert_eq!(read(gzip(text)).unwrap(), text);
        assert_eq!(read(two).unwrap(), [text, &text[..]].concat());
        assert_eq!(read(zstd).unwrap(), text);
        assert_eq!(read(text.to_vec()).unwrap(), text);
        assert_eq!(read(vec![0x1f]).unwrap(), [0x1f]);
        // Cut short, it is no whole input.
        let cut = gzip(text);
        assert!(read(cut[..cut.len() - 9].to_vec()).is_err());
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let bomb = zstd::bulk::compress(&vec![b' '; 80 << 20], 3).unwrap();
        let error = read(bomb).unwrap_err().to_string();
        assert!(error.contains("bomb"), "{error}");
    }
}
