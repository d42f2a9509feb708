//! Numbers in decimal digits, two at a time.

use super::pen::Pen;

/// "00", "01", … "99".
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

/// The two digits of `n`, which is below 100.
#[inline]
pub(super) fn pair(n: u32) -> [u8; 2] {
    PAIRS[n as usize]
}

/// The digits of `n`.
#[inline]
pub(super) fn unsigned(pen: &mut Pen<'_>, at: usize, mut n: u64) -> usize {
    let digits = n.checked_ilog10().map_or(1, |log| log as usize + 1);
    let room = pen.room(at, digits);
    let mut end = digits;
    while n >= 100 {
        end -= 2;
        room[end..end + 2].copy_from_slice(&pair((n % 100) as u32));
        n /= 100;
    }
    if n >= 10 {
        room[..2].copy_from_slice(&pair(n as u32));
    } else {
        room[0] = b'0' + n as u8;
    }
    at + digits
}

/// The digits of `n`, behind a minus where it needs one.
pub(super) fn signed(pen: &mut Pen<'_>, at: usize, n: i64) -> usize {
    let at = if n < 0 { pen.put(at, b"-") } else { at };
    unsigned(pen, at, n.unsigned_abs())
}

/// What JSON calls a number that it cannot write.
pub(crate) fn non_finite(n: f64) -> &'static str {
    if n.is_nan() {
        "NaN"
    } else if n > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// The fewest digits that read back as `n`, or one of three texts where JSON has no number.
#[inline]
pub(super) fn float(pen: &mut Pen<'_>, at: usize, n: f64) -> usize {
    // Most have few decimals. No two numbers of up to 15 digits read as the same float, so if one
    // of those that end with the fourth decimal does, it is the shortest, but for zeros at its end.
    const DECIMALS: f64 = 10_000.0;
    if n > 0.0 && n < 1e9 {
        let scaled = (n * DECIMALS + 0.5) as u64;
        if scaled as f64 / DECIMALS == n {
            let at = unsigned(pen, at, scaled / 10_000);
            let rest = (scaled % 10_000) as u32;
            let ([a, b], [c, d]) = (pair(rest / 100), pair(rest % 100));
            pen.put(at, &[b'.', a, b, c, d]);
            let decimals = match (b, c, d) {
                (b'0', b'0', b'0') => 1,
                (_, b'0', b'0') => 2,
                (_, _, b'0') => 3,
                _ => 4,
            };
            return at + 1 + decimals;
        }
    }
    any_float(pen, at, n)
}

fn any_float(pen: &mut Pen<'_>, at: usize, n: f64) -> usize {
    if !n.is_finite() {
        return pen.text(at, non_finite(n).as_bytes());
    }
    // No float has more than 24 characters.
    const FLOAT_MAX: usize = 32;
    let mut room = pen.room(at, FLOAT_MAX);
    // A finite number can always be written, and there is room for it.
    let _ = serde_json::to_writer(&mut room, &n);
    at + FLOAT_MAX - room.len()
}
