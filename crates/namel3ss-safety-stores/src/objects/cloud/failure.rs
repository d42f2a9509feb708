//! What went wrong with a request: of what kind it is, and what to read. Nothing that a server or a
//! driver wrote is repeated but a status and an error code, since the rest may hold signatures,
//! tokens and whole requests.

use std::error::Error as StdError;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use namel3ss_safety::{AdapterError, Failure};
use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::Refused;

/// A server that asked for fewer requests: how long it said to wait, and when.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<Option<(Instant, Duration)>>);

impl Asked {
    pub(super) fn wait(&self, wait: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), wait));
    }

    /// How long it is still.
    fn left(&self) -> Option<Duration> {
        let (since, wait) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        wait.checked_sub(since.elapsed())
    }
}

/// Where the metadata of a machine is asked for.
const HOSTS: [&str; 3] = ["169.254.169.254", "169.254.170.2", "metadata.google.internal"];
const NO_BUCKET: &str = "there is no such bucket, make it or mend the URL";
const REFUSED: &str = "the store refuses these credentials, check them and what they permit";

/// A request that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed<'a> {
    pub(super) doing: &'static str,
    pub(super) asked: &'a Asked,
}

/// A status in what the driver wrote about a request.
fn status(text: &str) -> Option<u16> {
    let at = text.find("status code: ")? + "status code: ".len();
    text.get(at..at + 3)?.parse().ok()
}

/// The error code in an answer of S3, Google or Azure: a word, or nothing.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    (code.len() <= 60 && code.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(code)
}

/// A failure before there was an answer.
fn transport(error: &Error) -> Option<HttpErrorKind> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return Some(http.kind());
        }
        next = error.source();
    }
    None
}

impl Failed<'_> {
    pub(super) fn no_answer(&self, within: Duration) -> AdapterError {
        AdapterError::transient(format!(
            "{}: no answer within {} s, see whether the store can be reached",
            self.doing,
            within.as_secs()
        ))
    }

    pub(super) fn because(&self, error: Error) -> Refused {
        let text = error.to_string();
        let (status, code) = (status(&text), code(&text));
        let named = match (status, code) {
            (Some(status), Some(code)) => format!(" ({status} {code})"),
            (Some(status), None) => format!(" ({status})"),
            _ => String::new(),
        };
        let say = |failure: Failure, what: &str| {
            AdapterError::new(failure, format!("{}: {what}{named}", self.doing))
        };
        let config = |what: &str| say(Failure::Config, what);
        match error {
            // S3: another write of this key is under way, and it may fail. Nobody knows what will be
            // there.
            _ if code == Some("ConditionalRequestConflict") => {
                Refused::Other(say(Failure::Transient, "another write of it is under way"))
            }
            Error::AlreadyExists { .. } | Error::Precondition { .. } => Refused::Exists,
            Error::NotImplemented { .. } => Refused::Unsupported,
            Error::NotSupported { .. } => {
                Refused::Other(config("it is larger than this library makes them, move it away"))
            }
            // Where no credentials are set, the driver asks the machine's host for some.
            _ if HOSTS.iter().any(|host| text.contains(host)) => Refused::Other(config(
                "there are no credentials, set the provider's environment variables",
            )),
            Error::NotFound { .. } => Refused::NotFound(config(NO_BUCKET)),
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                Refused::Denied(config(REFUSED))
            }
            _ => match status {
                // A listing has no name of its own for these.
                Some(404) => Refused::NotFound(config(NO_BUCKET)),
                Some(401 | 403) => Refused::Denied(config(REFUSED)),
                Some(501) => Refused::Unsupported,
                Some(429 | 503) => Refused::Other(say(
                    Failure::Throttled(self.asked.left()),
                    "the store asks for fewer requests",
                )),
                Some(408 | 500..=599) => {
                    Refused::Other(say(Failure::Transient, "the store has a failure of its own"))
                }
                Some(300..=399) => Refused::Other(config(
                    "the store sends us elsewhere, check the region and the endpoint",
                )),
                Some(_) => Refused::Other(config("the store does not understand it")),
                None => Refused::Other(say(Failure::Transient, self.silence(&error, &text))),
            },
        }
    }

    /// Why there was no answer.
    fn silence(&self, error: &Error, text: &str) -> &'static str {
        match transport(error) {
            Some(HttpErrorKind::Connect) => "the store can't be reached, check the endpoint",
            Some(HttpErrorKind::Timeout) => "the store does not answer in time",
            Some(HttpErrorKind::Decode) => "the answer makes no sense, check the endpoint",
            Some(_) => "the connection was lost",
            None if text.contains("without LOCATION") => "check the region and the endpoint",
            None => "the request failed, check the URL and the credentials",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn because(error: Error, asked: &Asked) -> AdapterError {
        Failed { doing: "write an object", asked }.because(error).into()
    }

    #[test]
    fn answers_have_kinds_and_what_a_server_says_is_not_repeated() {
        let check = |status: &str, failure: Failure, part: &str| {
            let body = "<Error><Code>SlowDown</Code><Key>canary</Key></Error>";
            let source = format!("Server returned non-2xx status code: {status}: {body}");
            let error = Error::Generic { store: "S3", source: source.into() };
            let error = because(error, &Asked::default());
            assert_eq!(*error.failure(), failure, "{status}");
            let said = format!("{error} {error:?}");
            assert!(said.contains(part) && said.contains("SlowDown"), "{said}");
            assert!(!said.contains("canary"), "{said}");
        };
        check("503 Service Unavailable", Failure::Throttled(None), "fewer requests (503 ");
        check("429 Too Many Requests", Failure::Throttled(None), "fewer requests");
        check("500 Internal Server Error", Failure::Transient, "failure of its own");
        check("400 Bad Request", Failure::Config, "does not understand");
        check("301 Moved Permanently", Failure::Config, "check the region");
        let source = || "canary <Code>no word at all</Code>".into();
        for error in [
            Error::PermissionDenied { path: "canary".into(), source: source() },
            Error::Unauthenticated { path: "canary".into(), source: source() },
            Error::NotFound { path: "canary".into(), source: source() },
        ] {
            let error = because(error, &Asked::default());
            assert_eq!(*error.failure(), Failure::Config);
            let said = format!("{error} {error:?}");
            assert!(!said.contains("canary") && !said.contains("no word"), "{said}");
        }
    }

    /// It was taken for the object being there: a data file of Delta whose first write failed meanwhile
    /// was refused as another one's.
    #[test]
    fn a_conflict_of_conditional_writes_is_tried_again() {
        let conflict = |code: &str| {
            let source = format!(
                "Server returned non-2xx status code: 409 Conflict: <Error><Code>{code}</Code></Error>"
            );
            let error = Error::AlreadyExists { path: "canary".into(), source: source.into() };
            Failed { doing: "write an object", asked: &Asked::default() }.because(error)
        };
        let Refused::Other(error) = conflict("ConditionalRequestConflict") else {
            panic!("it is taken for an object that is there")
        };
        assert_eq!(*error.failure(), Failure::Transient);
        assert!(!error.to_string().contains("canary"), "{error}");
        assert!(matches!(conflict("BlobAlreadyExists"), Refused::Exists));
    }

    #[test]
    fn what_a_server_asked_for_is_passed_on_while_it_lasts() {
        let asked = Asked::default();
        asked.wait(Duration::from_secs(30));
        let source = "Server returned non-2xx status code: 503 Slow Down: ".into();
        let error = because(Error::Generic { store: "S3", source }, &asked);
        assert!(matches!(error.failure(), Failure::Throttled(Some(wait)) if wait.as_secs() >= 29));
        asked.wait(Duration::ZERO);
        assert!(asked.left().is_none_or(|left| left.is_zero()));
    }
}
