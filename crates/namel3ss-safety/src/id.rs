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
        Self(uuid_v7_bytes(Timestamp::now(), os_random()))
    }
}

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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
pub struct EventId([u8; 16]);

impl EventId {
    /// A new one, from 128 random bits of which it uses 74.
    #[must_use]
    pub fn new(now: Timestamp, random: u128) -> Self {
        let [low, high] = [&SALT[0], &SALT[1]].map(|half| half.load(Ordering::Relaxed));
        let salt = u128::from(low) | u128::from(high) << 64;
        Self(uuid_v7_bytes(now, (random ^ salt).to_le_bytes()))
    }

    /// Its usual text form, written into `text`.
    pub fn write(self, text: &mut [u8; 36]) -> &str {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut at = 0;
        for (i, byte) in self.0.into_iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                text[at] = b'-';
                at += 1;
            }
            text[at] = DIGITS[usize::from(byte >> 4)];
            text[at + 1] = DIGITS[usize::from(byte & 15)];
            at += 2;
        }
        // Hexadecimal digits and dashes.
        std::str::from_utf8(text).unwrap_or_default()
    }
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

fn uuid_v7_bytes(now: Timestamp, random: [u8; 16]) -> [u8; 16] {
    let mut bytes = random;
    let millis = now.micros().div_euclid(1000).to_be_bytes();
    bytes[..6].copy_from_slice(&millis[2..]);
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    bytes
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
    fn journal_ids_refuse_what_is_not_theirs() {
        assert_eq!("".parse::<JournalId>(), Err(ParseIdError));
        assert_eq!("+1".repeat(16).parse::<JournalId>(), Err(ParseIdError));
    }
}
