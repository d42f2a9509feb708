//! The headers of a column's pages, looked at before anything of them is unpacked: the reader makes room
//! for as much as a header says, and believes how many values it has.

/// What a page says of itself, in Thrift's compact protocol.
#[derive(Debug, Default)]
struct Header {
    kind: i64,
    unpacked: i64,
    packed: i64,
    values: i64,
}

/// The kinds of pages that hold a column's values: of version 1 and 2.
const DATA: [i64; 2] = [0, 3];
/// How deep structures may be nested; those of a page's header are three deep.
const DEPTH_MAX: u32 = 16;

/// Whether the pages of a column's `bytes` are what its footer says: that they have so many `values`, and
/// no more than so many bytes once `unpacked`.
pub(super) fn check(bytes: &[u8], values: i64, unpacked: i64) -> Result<(), &'static str> {
    let mut rest = bytes;
    let (mut found, mut room) = (0_i64, unpacked);
    while !rest.is_empty() {
        let header = header(&mut rest).ok_or("the header of a page is damaged")?;
        let packed = usize::try_from(header.packed).ok().filter(|packed| *packed <= rest.len());
        rest = &rest[packed.ok_or("a page ends behind its column")?..];
        room = room.checked_sub(header.unpacked).unwrap_or(-1);
        if header.unpacked < 0 || room < 0 {
            return Err("its pages unpack to more than its footer says");
        }
        if DATA.contains(&header.kind) {
            found = found.saturating_add(header.values.max(0));
        }
    }
    if found == values {
        Ok(())
    } else {
        Err("its pages have another number of values than its footer says")
    }
}

/// Takes the header of a page from the front of `rest`.
fn header(rest: &mut &[u8]) -> Option<Header> {
    let mut header = Header::default();
    fields(rest, |rest, id, of| {
        match (id, of) {
            (1, INT) => header.kind = number(rest)?,
            (2, INT) => header.unpacked = number(rest)?,
            (3, INT) => header.packed = number(rest)?,
            // Of a data page, a dictionary or a data page of version 2.
            (5 | 7 | 8, STRUCT) => fields(rest, |rest, id, of| {
                match (id, of) {
                    (1, INT) => header.values = number(rest)?,
                    _ => skip(rest, of, DEPTH_MAX)?,
                }
                Some(())
            })?,
            _ => skip(rest, of, DEPTH_MAX)?,
        }
        Some(())
    })?;
    Some(header)
}

const INT: u8 = 5;
const STRUCT: u8 = 12;

/// Hands each field of a structure to `each`, with its number and type; `each` takes its value.
fn fields(rest: &mut &[u8], mut each: impl FnMut(&mut &[u8], i64, u8) -> Option<()>) -> Option<()> {
    let mut id = 0_i64;
    loop {
        let head = byte(rest)?;
        if head == 0 {
            return Some(());
        }
        id = match head >> 4 {
            0 => number(rest)?,
            more => id.checked_add(i64::from(more))?,
        };
        each(rest, id, head & 0x0f)?;
    }
}

/// Takes a value of a type.
fn skip(rest: &mut &[u8], of: u8, depth: u32) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match of {
        // Booleans, whose value is their type.
        1 | 2 => {}
        3 => take(rest, 1)?,
        4..=6 => {
            varint(rest)?;
        }
        7 => take(rest, 8)?,
        8 => {
            let length = varint(rest)?;
            take(rest, length)?;
        }
        9 | 10 => {
            let head = byte(rest)?;
            let count = match head >> 4 {
                15 => varint(rest)?,
                count => u64::from(count),
            };
            (0..count).try_for_each(|_| item(rest, head & 0x0f, depth))?;
        }
        11 => {
            let count = varint(rest)?;
            let kinds = if count > 0 { byte(rest)? } else { 0 };
            (0..count).try_for_each(|_| {
                item(rest, kinds >> 4, depth)?;
                item(rest, kinds & 0x0f, depth)
            })?;
        }
        STRUCT => fields(rest, |rest, _, of| skip(rest, of, depth))?,
        _ => return None,
    }
    Some(())
}

/// Takes an item of a list: there a boolean is a byte.
fn item(rest: &mut &[u8], of: u8, depth: u32) -> Option<()> {
    match of {
        1 | 2 => byte(rest).map(drop),
        of => skip(rest, of, depth),
    }
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

fn take(rest: &mut &[u8], count: u64) -> Option<()> {
    *rest = rest.get(usize::try_from(count).ok()?..)?;
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let next = byte(rest)?;
        value |= u64::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A number with a sign.
fn number(rest: &mut &[u8]) -> Option<i64> {
    let value = varint(rest)?;
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A data page of `packed` bytes with a list, a map and a long field number behind what matters.
    fn page(unpacked: i64, packed: i64, values: i64, bytes: usize) -> Vec<u8> {
        let number = |n: i64| {
            let mut zigzag = ((n << 1) ^ (n >> 63)).cast_unsigned();
            let mut bytes = Vec::new();
            while zigzag >= 0x80 {
                bytes.push((zigzag & 0x7f) as u8 | 0x80);
                zigzag >>= 7;
            }
            bytes.push(zigzag as u8);
            bytes
        };
        let strange = [0x19, 0x21, 1, 2, 0x1b, 1, 0x88, 1, b'k', 1, b'v', 0x0c, 0x80, 1, 0x11, 0];
        [
            vec![0x15, 0, 0x15],
            number(unpacked),
            vec![0x15],
            number(packed),
            vec![0x2c, 0x15],
            number(values),
            vec![0],
            strange.to_vec(),
            vec![0],
            vec![7; bytes],
        ]
        .concat()
    }

    #[test]
    fn pages_that_contradict_their_footer_are_refused() {
        let two = [page(100, 10, 3, 10), page(50, 0, 4, 0)].concat();
        assert_eq!(check(&two, 7, 150), Ok(()));
        assert_eq!(check(&[], 0, 0), Ok(()));
        let error = |bytes: &[u8], values, unpacked| check(bytes, values, unpacked).unwrap_err();
        assert!(error(&two, 8, 150).contains("another number of values"));
        assert!(error(&two, 7, 149).contains("more than its footer says"));
        assert!(error(&page(i64::from(i32::MAX), 1, 1, 1), 1, 1 << 20).contains("more than"));
        assert!(error(&page(-1, 1, 1, 1), 1, 100).contains("more than"));
        assert!(error(&page(1, 2, 1, 1), 1, 100).contains("ends behind"));
        assert!(error(&page(1, -1, 1, 1), 1, 100).contains("ends behind"));
        for cut in 1..two.len() {
            assert!(check(&two[..cut], 7, 150).is_err(), "{cut}");
        }
        // Whatever the bytes are, it comes to an end.
        for seed in 0..10_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let bytes: Vec<u8> = (0..random.usize(1..60)).map(|_| random.u8(..)).collect();
            let _ = check(&bytes, 1, 100);
        }
        let deep = [vec![0x1c; 100_000], vec![0; 100_000]].concat();
        assert!(check(&deep, 0, 0).is_err());
        // A list of more items than anybody waits for.
        assert!(check(&[0x19, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], 0, 0).is_err());
        assert!(check(&[0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], 0, 0).is_err());
    }
}
