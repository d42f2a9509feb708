//! The error codes of S3, Google Cloud Storage and Azure Blob Storage whose status alone says something
//! else than they do, and what else an answer tells that matters beyond its request.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use namel3ss_safety::Timestamp;

/// What an error code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The request came too slowly; it is as good as before.
    Slow,
    /// Too many requests, of the store or of what it asks itself.
    Busy,
    /// Another write of the same key is under way, and may fail.
    Conflict,
    /// Our clock, or the store's, is wrong.
    Clock,
    /// The credentials were valid for a time that is over.
    Token,
    /// The bucket is in another region.
    Region,
    /// Somebody must change something.
    Config(&'static str),
}

const KEY: &str =
    "the store can't use the bucket's encryption key, check its state and who may use it";

#[rustfmt::skip]
const CODES: [(&str, Meaning); 27] = [
    // S3 and what speaks its protocol. Google's XML interface shares the first ones.
    ("RequestTimeout", Meaning::Slow),                              // 400
    ("RequestTimeTooSkewed", Meaning::Clock),                       // 403
    ("ExpiredToken", Meaning::Token),                               // 400, 403
    ("ExpiredTokenException", Meaning::Token),                      // 400, 403
    ("TokenRefreshRequired", Meaning::Token),                       // 400
    ("RequestExpired", Meaning::Clock),                             // 400, 403
    ("ThrottlingException", Meaning::Busy),                         // 400
    ("Throttling", Meaning::Busy),                                  // 400
    ("RequestLimitExceeded", Meaning::Busy),                        // 400
    ("KMS.ThrottlingException", Meaning::Busy),                     // 400
    ("KMS.DependencyTimeoutException", Meaning::Busy),              // 400
    ("KMS.KMSInternalException", Meaning::Busy),                    // 400
    ("KMS.DisabledException", Meaning::Config(KEY)),                // 400
    ("KMS.NotFoundException", Meaning::Config(KEY)),                // 400
    ("KMS.KMSInvalidStateException", Meaning::Config(KEY)),         // 400
    ("ConditionalRequestConflict", Meaning::Conflict),              // 409
    ("AuthorizationHeaderMalformed", Meaning::Region),              // 400
    ("PermanentRedirect", Meaning::Region),                         // 301
    ("IllegalLocationConstraintException", Meaning::Region),        // 400
    // Google.
    ("UserRateLimitExceeded", Meaning::Busy),                       // 403
    ("CloudKmsDisabledKey", Meaning::Config(KEY)),                  // 400
    ("CloudKmsEncryptionKeyNotFound", Meaning::Config(KEY)),        // 400
    // Azure.
    ("InvalidAuthenticationInfo", Meaning::Token),                  // 400, 401
    ("KeyVaultEncryptionKeyNotFound", Meaning::Config(KEY)),        // 403
    ("KeyVaultAccessTokenCannotBeAcquired", Meaning::Config(KEY)),  // 403
    ("AuthenticationFailed", Meaning::Config(
        "the store refuses the key or the signature, see whether it has expired, and this machine's clock",
    )),                                                             // 403
    ("AccountIsDisabled", Meaning::Config("the account is disabled, enable it")), // 403
];

/// What `code` means, where that is something else than its status says.
pub(super) fn meaning(code: &str) -> Option<Meaning> {
    CODES.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning)
}

/// The longest code or region that is believed.
const WORD_MAX: usize = 60;
const REGION_MAX: usize = 32;

/// What stands in an element of an answer, if that is a word of the bytes that `is_of_it`.
fn word<'a>(text: &'a str, open: &str, close: &str, is_of_it: fn(u8) -> bool) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    let (word, _) = rest.split_once(close)?;
    (1..=WORD_MAX).contains(&word.len()).then_some(word).filter(|word| word.bytes().all(is_of_it))
}

/// The error code in an answer: a word, or nothing.
pub(super) fn code(text: &str) -> Option<&str> {
    word(text, "<Code>", "</Code>", |byte| byte.is_ascii_alphanumeric() || byte == b'.')
}

/// The region that an answer names.
pub(super) fn region(text: &str) -> Option<&str> {
    word(text, "<Region>", "</Region>", |_| true).filter(|name| is_region(name))
}

/// Whether this can be a region. It becomes part of a host's name.
pub(super) fn is_region(name: &str) -> bool {
    let is_of_it = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=REGION_MAX).contains(&name.len()) && name.bytes().all(is_of_it)
}

/// What the last answers of a store told beside what they were about.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// It asked for fewer requests: when, and how long to wait.
    wait: Option<(Instant, Duration)>,
    /// Where the bucket is.
    region: Option<String>,
    /// What the store's clock said when ours said the second.
    clocks: Option<(Timestamp, Timestamp)>,
}

impl Heard {
    fn with<T>(&self, with: impl FnOnce(&mut Told) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn wait(&self, wait: Duration) {
        self.with(|told| told.wait = Some((Instant::now(), wait)));
    }

    /// How long it is still to be left in peace.
    pub(super) fn left(&self) -> Option<Duration> {
        let (since, wait) = self.with(|told| told.wait)?;
        wait.checked_sub(since.elapsed())
    }

    pub(super) fn set_region(&self, region: &str) {
        self.with(|told| told.region = Some(region.to_owned()));
    }

    pub(super) fn region(&self) -> Option<String> {
        self.with(|told| told.region.clone())
    }

    /// From the `Date` of an answer.
    pub(super) fn set_date(&self, date: &str) {
        let theirs = namel3ss_safety::internal::parse::moment_of_text(date);
        self.with(|told| told.clocks = theirs.map(|theirs| (theirs, Timestamp::now())));
    }

    /// What the store's clock and ours said at the same moment.
    pub(super) fn clocks(&self) -> Option<(Timestamp, Timestamp)> {
        self.with(|told| told.clocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_words_is_believed_of_an_answer() {
        let code = |text: &str| code(&format!("x<Code>{text}</Code>")).map(str::to_owned);
        assert_eq!(code("KMS.ThrottlingException").as_deref(), Some("KMS.ThrottlingException"));
        for text in ["", "no word at all", "a\u{1b}[0m", &"x".repeat(61)] {
            assert_eq!(code(text), None, "{text}");
        }
        let region = |text: &str| region(&format!("<Region>{text}</Region>")).map(str::to_owned);
        assert_eq!(region("eu-west-1").as_deref(), Some("eu-west-1"));
        for text in ["", "evil.example/", "eu_west", "EU", "a b", &"x".repeat(33)] {
            assert_eq!(region(text), None, "{text}");
        }
    }

    #[test]
    fn a_code_stands_in_the_table_once() {
        let mut codes: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
        assert_eq!(meaning("KMS.ThrottlingException"), Some(Meaning::Busy));
        assert_eq!(meaning("AccessDenied"), None);
    }
}
