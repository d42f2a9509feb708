//! Writing bytes behind one another: room is made and checked once, short texts go by words instead
//! of calls, and a text is looked through for what JSON escapes while it is copied.
//!
//! Where to write is passed from call to call rather than kept in a field: short texts in a row
//! would otherwise wait for each other's store of it.

/// Texts up to here are copied by two overlapping words.
const SHORT_MAX: usize = 64;

/// Writes behind what `out` holds; see the module.
pub(super) struct Pen<'o> {
    /// Written up to where the caller says; what is behind is room.
    out: &'o mut Vec<u8>,
    /// How much room is made beyond what is asked for.
    spare: usize,
}

/// Has `write` append to `out`: it is given where to begin, and says where it has ended. `spare` is
/// about how much it will write.
pub(super) fn append(
    out: &mut Vec<u8>,
    spare: usize,
    write: impl FnOnce(&mut Pen<'_>, usize) -> usize,
) {
    let start = out.len();
    let end = write(&mut Pen { out, spare }, start);
    out.truncate(end);
}

impl Pen<'_> {
    /// Room for `n` bytes, to be written whole.
    #[inline]
    pub(super) fn room(&mut self, at: usize, n: usize) -> &mut [u8] {
        if self.out.len() < at + n {
            self.grow(at + n);
        }
        &mut self.out[at..at + n]
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        self.out.resize(end + self.spare, 0);
    }

    /// Bytes as they are.
    #[inline]
    pub(super) fn put<const N: usize>(&mut self, at: usize, bytes: &[u8; N]) -> usize {
        self.room(at, N).copy_from_slice(bytes);
        at + N
    }

    /// As [`put`](Self::put), for any number of bytes.
    pub(super) fn bytes(&mut self, at: usize, bytes: &[u8]) -> usize {
        self.room(at, bytes.len()).copy_from_slice(bytes);
        at + bytes.len()
    }

    /// UTF-8 as a JSON string.
    #[inline]
    pub(super) fn text(&mut self, at: usize, text: &[u8]) -> usize {
        let n = text.len();
        if n > SHORT_MAX {
            return self.long_text(at, text);
        }
        let room = self.room(at, SHORT_MAX + 2);
        let plain = copy_plain(text, &mut room[1..=SHORT_MAX]);
        room[0] = b'"';
        room[n + 1] = b'"';
        if plain { at + n + 2 } else { self.escaped(at, text) }
    }

    #[inline(never)]
    fn long_text(&mut self, at: usize, text: &[u8]) -> usize {
        if !text.chunks(64).all(is_plain) {
            return self.escaped(at, text);
        }
        let room = self.room(at, text.len() + 2);
        room[0] = b'"';
        room[1..=text.len()].copy_from_slice(text);
        room[text.len() + 1] = b'"';
        at + text.len() + 2
    }

    #[cold]
    fn escaped(&mut self, at: usize, text: &[u8]) -> usize {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut at = self.put(at, b"\"");
        let mut rest = text;
        while let Some(run) = rest.iter().position(|byte| !is_plain(&[*byte])) {
            at = self.bytes(at, &rest[..run]);
            let byte = rest[run];
            at = match byte {
                b'"' => self.put(at, b"\\\""),
                b'\\' => self.put(at, b"\\\\"),
                b'\n' => self.put(at, b"\\n"),
                b'\r' => self.put(at, b"\\r"),
                b'\t' => self.put(at, b"\\t"),
                0x08 => self.put(at, b"\\b"),
                0x0c => self.put(at, b"\\f"),
                _ => {
                    let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                    let at = self.put(at, b"\\u00");
                    self.put(at, &digits)
                }
            };
            rest = &rest[run + 1..];
        }
        at = self.bytes(at, rest);
        self.put(at, b"\"")
    }
}

/// Whether JSON has nothing to escape in `bytes`; without an early exit, so that it is done many
/// bytes at a time.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, &b| plain & (b >= 0x20) & (b != b'"') & (b != b'\\'))
}

/// [`is_plain`] of eight bytes: in each byte of a sum below the high bit says that its byte is a
/// control character, or was made zero. A borrow can spoil the bytes behind one that is found only.
#[inline]
fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let (quote, slash) = (word ^ (ONES * b'"' as u64), word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let slash = slash.wrapping_sub(ONES) & !slash;
    (control | quote | slash) & (ONES << 7) == 0
}

/// Copies a short text to the beginning of `to`; says whether it is plain.
#[inline]
fn copy_plain(from: &[u8], to: &mut [u8]) -> bool {
    let n = from.len();
    if let (Some(first), Some(last)) = (from.first_chunk::<32>(), from.last_chunk::<32>()) {
        to[..32].copy_from_slice(first);
        to[n - 32..n].copy_from_slice(last);
        is_plain(first) & is_plain(last)
    } else if let (Some(first), Some(last)) = (from.first_chunk::<16>(), from.last_chunk::<16>()) {
        to[..16].copy_from_slice(first);
        to[n - 16..n].copy_from_slice(last);
        is_plain(first) & is_plain(last)
    } else if let (Some(first), Some(last)) = (from.first_chunk::<8>(), from.last_chunk::<8>()) {
        to[..8].copy_from_slice(first);
        to[n - 8..n].copy_from_slice(last);
        is_plain_word(u64::from_le_bytes(*first)) & is_plain_word(u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (from.first_chunk::<4>(), from.last_chunk::<4>()) {
        to[..4].copy_from_slice(first);
        to[n - 4..n].copy_from_slice(last);
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        is_plain_word(u64::from(first) | u64::from(last) << 32)
    } else {
        to[..n].copy_from_slice(from);
        is_plain(from)
    }
}
