//! The names of things: which journal, which place in it, which batch, which event.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock::Timestamp;

/// A position in one journal, counted from 1.
///
/// `Seq(0)` stands before the first event: a cursor at 0 has delivered nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which journal: 128 bits, made once when the journal is, as a UUIDv7 so that names sort by age.
///
/// ```
/// use namel3ss_safety::JournalId;
/// let id = JournalId::generate();
/// assert_eq!(id.to_string().parse(), Ok(id));
/// assert_eq!(id.to_string().len(), 32);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalId(pub [u8; 16]);

impl JournalId {
    /// A new one. Its randomness comes from the operating system, because a forked child shares
    /// the state of every generator that its parent had.
    #[must_use]
    pub fn generate() -> Self {
        Self(uuid_v7(Timestamp::now(), u128::from_le_bytes(os_random())).to_be_bytes())
    }

    /// Its 32 hexadecimal digits.
    pub(crate) fn digits(self) -> [u8; 32] {
        let id = u128::from_be_bytes(self.0);
        let mut digits = [0; 32];
        for (eight, shift) in digits.chunks_exact_mut(8).zip([96, 64, 32, 0]) {
            eight.copy_from_slice(&hex((id >> shift) as u32));
        }
        digits
    }

    /// The journal id under which an event is stored whose own id, this one and `seq`, another event
    /// has: the same for the same event. It sorts beside this one, and says the same about its age.
    #[must_use]
    pub(crate) fn derived(self, seq: Seq, event_id: &str, timestamp: Timestamp) -> Self {
        let id = u128::from_be_bytes(self.0);
        // Its halves, each of 64 bits.
        let mut words =
            vec![(id >> 64) as u64, id as u64, seq.0, timestamp.micros().cast_unsigned()];
        words.extend(event_id.as_bytes().chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        }));
        words.push(event_id.len() as u64);
        let hashed = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344]
            .map(|seed| words.iter().fold(seed, |hash, word| mix(hash ^ word)));
        let mut bytes = (u128::from(hashed[0]) << 64 | u128::from(hashed[1])).to_be_bytes();
        bytes[..6].copy_from_slice(&self.0[..6]);
        bytes[6] = (bytes[6] & 0x0f) | (self.0[6] & 0xf0);
        bytes[8] = (bytes[8] & 0x3f) | (self.0[8] & 0xc0);
        Self(bytes)
    }
}

/// A bijection of 64 bits in which each bit depends on each: the finalizer of
/// [SplitMix64](https://doi.org/10.1145/2714064.2660195).
const fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Hexadecimal digits.
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JournalId({self})")
    }
}

/// What was wrong with the text of a [`JournalId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("read a journal id: it is 32 hexadecimal digits")
    }
}

impl std::error::Error for ParseIdError {}

impl FromStr for JournalId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseIdError);
        }
        u128::from_str_radix(text, 16).map(|n| Self(n.to_be_bytes())).map_err(|_| ParseIdError)
    }
}

/// A frozen run of one journal: the idempotency key of a delivery.
///
/// Its boundaries are written down before the first attempt, so that a retry after a crash sends
/// the same rows under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchId {
    /// The journal the rows came from.
    pub journal: JournalId,
    /// The first position of the run.
    pub first: Seq,
    /// The last position of the run, inclusive.
    pub last: Seq,
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}-{}", self.journal, self.first, self.last)
    }
}

/// A new event id: a UUIDv7 ([RFC 9562](https://www.rfc-editor.org/rfc/rfc9562#section-5.7)), made
/// at the moment `now`; its text is made when somebody asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventId(u128);

impl EventId {
    /// A new one, from 128 random bits of which it uses 74.
    #[must_use]
    pub fn new(now: Timestamp, random: u128) -> Self {
        let [low, high] = [&SALT[0], &SALT[1]].map(|half| half.load(Ordering::Relaxed));
        let salt = u128::from(low) | u128::from(high) << 64;
        Self(uuid_v7(now, random ^ salt))
    }

    /// Its usual text form, written into `text`.
    pub fn write(self, text: &mut [u8; 36]) -> &str {
        let [a, b, c, d] = [96, 64, 32, 0].map(|shift| hex((self.0 >> shift) as u32));
        *text = [b'-'; 36];
        text[..8].copy_from_slice(&a);
        text[9..13].copy_from_slice(&b[..4]);
        text[14..18].copy_from_slice(&b[4..]);
        text[19..23].copy_from_slice(&c[..4]);
        text[24..28].copy_from_slice(&c[4..]);
        text[28..].copy_from_slice(&d);
        // Hexadecimal digits and dashes.
        std::str::from_utf8(text).unwrap_or_default()
    }
}

/// The eight digits of a word, all at once: each in a byte of its own.
const fn hex(word: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = word as u64;
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & (0x0f * ONES);
    let letters = ((digits + 6 * ONES) >> 4) & ONES;
    let after_nine = (b'a' - b'9' - 1) as u64;
    (digits + b'0' as u64 * ONES + letters * after_nine).to_be_bytes()
}

/// Is mixed into the random bits of each event id: the copies of one process go on with the same
/// random numbers, in every thread.
static SALT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Has event ids differ from those that a copy of this process makes.
pub(crate) fn reseed() {
    for (salt, bytes) in SALT.iter().zip(os_random().chunks_exact(8)) {
        // Infallible: chunks_exact gives eight bytes.
        salt.store(u64::from_le_bytes(bytes.try_into().unwrap_or_default()), Ordering::Relaxed);
    }
}

/// The text of a new [`EventId`].
///
/// The process id is mixed in, because a forked child continues its parent's random numbers.
#[must_use]
pub fn new_event_id() -> String {
    let random = fastrand::u128(..) ^ (u128::from(std::process::id()) << 40);
    EventId::new(Timestamp::now(), random).write(&mut [0; 36]).to_owned()
}

/// 48 bits of the moment in milliseconds, the version, 12 random bits, the variant, 62 random bits.
fn uuid_v7(now: Timestamp, random: u128) -> u128 {
    let millis = now.micros().div_euclid(1000).cast_unsigned();
    let marks = 0x7 << 76 | 0b10 << 62;
    let marked = 0xf << 76 | 0b11 << 62;
    u128::from(millis) << 80 | (random & (u128::MAX >> 48) & !marked) | marks
}

/// Sixteen bytes from the operating system; where it has none to give, from the clock, the process
/// id and the generator's own start.
pub(crate) fn os_random() -> [u8; 16] {
    let mut bytes = fastrand::u128(..).to_le_bytes();
    let pid = std::process::id().to_le_bytes();
    bytes.iter_mut().zip(pid).for_each(|(byte, p)| *byte ^= p);
    #[cfg(unix)]
    {
        // A short or failed read leaves the seeded bytes above, which are unique enough.
        let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::NONBLOCK);
    }
    // The copies of a virtual machine may be given the same bytes, at different times.
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    bytes.iter_mut().zip(nanos.to_le_bytes()).for_each(|(byte, nanos)| *byte ^= nanos);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_version_7_uuids_and_differ() {
        let (a, b) = (new_event_id(), new_event_id());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
        assert_eq!(&a[14..15], "7");
        assert!(matches!(&a[19..20], "8" | "9" | "a" | "b"));
    }

    #[test]
    fn an_event_id_is_written_as_rfc_9562_says() {
        let plain = |id: u128| {
            let digits = format!("{id:032x}");
            let parts =
                [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
            parts.join("-")
        };
        let random = std::iter::repeat_with(|| fastrand::u128(..)).take(1_000);
        let mut ids: Vec<u128> = vec![0, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210];
        ids.extend(random);
        for id in ids {
            assert_eq!(EventId(id).write(&mut [0; 36]), plain(id));
        }
        // The RFC's own example: its moment, version 7, its random bits.
        let at = Timestamp::from_micros(0x017f_22e2_79b0 * 1000 + 999);
        let id = EventId(uuid_v7(at, 0x0cc3 << 64 | 0x18c4_dc0c_0c07_398f));
        assert_eq!(id.write(&mut [0; 36]), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
        let before = EventId(uuid_v7(Timestamp::from_micros(-1), u128::MAX));
        assert_eq!(before.write(&mut [0; 36]), "ffffffff-ffff-7fff-bfff-ffffffffffff");
    }

    #[test]
    fn derived_journals_are_the_same_for_the_same_event_and_differ_else() {
        let journal = JournalId::generate();
        let at = Timestamp::from_micros;
        let derived = journal.derived(Seq(2), "event", at(5));
        assert_eq!(derived, journal.derived(Seq(2), "event", at(5)));
        // What is written down never changes.
        let fixed = JournalId(*b"\x01\x90\0\0\0\0\x70\0\x80\0\0\0\0\0\0\x01");
        let written = fixed.derived(Seq(1), "e", at(1)).to_string();
        assert_eq!(written, "01900000000073cd964ee2715a426af5");
        let others = [
            journal,
            journal.derived(Seq(3), "event", at(5)),
            journal.derived(Seq(2), "event\0", at(5)),
            journal.derived(Seq(2), "event", at(6)),
            derived.derived(Seq(2), "event", at(5)),
        ];
        for other in others {
            assert_ne!(other, derived);
            assert_eq!(other.0[..6], journal.0[..6]);
            assert_eq!((other.0[6] >> 4, other.0[8] >> 6), (7, 2));
        }
        let many: std::collections::HashSet<JournalId> =
            (0..10_000).map(|n| journal.derived(Seq(2), "event", at(n))).collect();
        assert_eq!(many.len(), 10_000);
    }

    #[test]
    fn journal_ids_refuse_what_is_not_theirs() {
        assert_eq!("".parse::<JournalId>(), Err(ParseIdError));
        assert_eq!("+1".repeat(16).parse::<JournalId>(), Err(ParseIdError));
    }
}
