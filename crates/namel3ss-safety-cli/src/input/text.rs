//! The encoding of an input: UTF-8 is read as it is, UTF-16 is converted, UTF-32 and what is no text
//! are refused by name. Any other encoding shows as lines that are not UTF-8.

use std::io::{self, Cursor, Read};

use super::bytes::{CHUNK_BYTES, Reader, peek};

/// What begins so is no text that is read here, and what to do with it.
const OTHERS: [(&[u8], &str); 8] = [
    (b"\xff\xfe\0\0", "UTF-32: convert it first, such as with iconv -f UTF-32 -t UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32: convert it first, such as with iconv -f UTF-32 -t UTF-8"),
    (b"PAR1", "Parquet: export it as CSV or JSON lines"),
    (b"SQLite format 3", "a SQLite database: export its table as CSV or JSON lines"),
    (b"PK\x03\x04", "a zip archive or a spreadsheet: unpack it, or save it as CSV"),
    (b"BZh", "packed by bzip2: unpack it first, such as with bzcat"),
    (b"\xfd7zXZ", "packed by xz: unpack it first, such as with xzcat"),
    (b"\x1f\x8b", "packed twice: unpack it once first"),
];

/// The input as UTF-8, without a byte-order mark.
pub(super) fn to_utf8(mut reader: Reader) -> io::Result<Reader> {
    // Two bytes tell UTF-16 without a mark; the others are told by more.
    let mut start = peek(&mut reader, 16, |start| {
        let is_part = |whole: &[u8]| whole.starts_with(start) && start.len() < whole.len();
        let others = OTHERS.iter().map(|(magic, _)| *magic);
        start.len() >= 2 && !others.chain([&b"\xef\xbb\xbf"[..]]).any(is_part)
    })?;
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is {what}")));
    }
    let (mark, little) = match start.get(..2).unwrap_or_default() {
        [0xef, 0xbb] if start.starts_with(b"\xef\xbb\xbf") => (3, None),
        [0xff, 0xfe] => (2, Some(true)),
        [0xfe, 0xff] => (2, Some(false)),
        // Every format begins with an ASCII character.
        [first, 0] if *first != 0 => (0, Some(true)),
        [0, second] if *second != 0 => (0, Some(false)),
        _ => (0, None),
    };
    start.drain(..mark);
    let reader: Reader = Box::new(Cursor::new(start).chain(reader));
    Ok(match little {
        Some(little) => Box::new(Utf16 { reader, little, ..Utf16::default() }),
        None => reader,
    })
}

/// UTF-16 as UTF-8. A lone surrogate becomes U+FFFD.
struct Utf16 {
    reader: Reader,
    little: bool,
    chunk: Vec<u8>,
    /// How many bytes at the beginning of the chunk are not decoded yet.
    kept: usize,
    text: Vec<u8>,
    given: usize,
}

impl Default for Utf16 {
    fn default() -> Self {
        Self {
            reader: Box::new(io::empty()),
            little: true,
            chunk: vec![0; CHUNK_BYTES],
            kept: 0,
            text: Vec::new(),
            given: 0,
        }
    }
}

impl Utf16 {
    /// Decodes the next bytes of the input; false at its end.
    fn fill(&mut self) -> io::Result<bool> {
        let n = self.reader.read(&mut self.chunk[self.kept..])?;
        let ended = n == 0;
        if ended && self.kept == 0 {
            return Ok(false);
        }
        let bytes = &self.chunk[..self.kept + n];
        let unit = |pair: &[u8]| match self.little {
            true => u16::from_le_bytes([pair[0], pair[1]]),
            false => u16::from_be_bytes([pair[0], pair[1]]),
        };
        let mut units: Vec<u16> = bytes.chunks_exact(2).map(unit).collect();
        let mut kept = bytes.len() % 2;
        // The other half of a pair may be still to come.
        if !ended && units.last().is_some_and(|last| (0xd800..0xdc00).contains(last)) {
            units.pop();
            kept += 2;
        }
        self.text.clear();
        self.given = 0;
        for c in char::decode_utf16(units) {
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            self.text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        let end = bytes.len();
        if ended {
            self.kept = 0;
            if kept > 0 {
                self.text.extend_from_slice("\u{fffd}".as_bytes());
            }
        } else {
            self.chunk.copy_within(end - kept..end, 0);
            self.kept = kept;
        }
        Ok(true)
    }
}

impl Read for Utf16 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.text.len() {
            if !self.fill()? {
                return Ok(0);
            }
        }
        let n = buffer.len().min(self.text.len() - self.given);
        buffer[..n].copy_from_slice(&self.text[self.given..self.given + n]);
        self.given += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, as a slow pipe may.
    struct Slow(Cursor<Vec<u8>>);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = buffer.len().min(1);
            self.0.read(&mut buffer[..n])
        }
    }

    fn read(bytes: &[u8]) -> io::Result<String> {
        let mut out = [String::new(), String::new()];
        to_utf8(Box::new(Cursor::new(bytes.to_vec())))?.read_to_string(&mut out[0])?;
        to_utf8(Box::new(Slow(Cursor::new(bytes.to_vec()))))?.read_to_string(&mut out[1])?;
        assert_eq!(out[0], out[1]);
        Ok(std::mem::take(&mut out[0]))
    }

    #[test]
    fn every_encoding_is_read_or_refused_by_name() {
        let text = "{\"a\":\"café 😀\"}\r\n";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [b"\xff\xfe", &little[..]].concat(),
            [b"\xfe\xff", &big[..]].concat(),
            little.clone(),
            big,
        ] {
            assert_eq!(read(&bytes).unwrap(), text);
        }
        assert!(read(b"\xff\xfe\0\0{\0\0\0").unwrap_err().to_string().contains("UTF-32"));
        assert!(read(b"PAR1\x15").unwrap_err().to_string().contains("Parquet"));
        assert_eq!(read(b"\xff\xfe\x00\xd8a\0b").unwrap(), "\u{fffd}a\u{fffd}");
        assert_eq!(read(b"").unwrap(), "");
    }
}
