//! What went wrong with a request: of what kind it is, and what to read. Nothing that a server or a
//! driver wrote is repeated but a status and an error code, since the rest may hold signatures,
//! tokens and whole requests.

use std::error::Error as StdError;
use std::time::Duration;

use namel3ss_safety::{AdapterError, Failure, Timestamp};
use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use super::codes::{Heard, Meaning, code, meaning};
use super::settings;
use crate::objects::place::Place;

/// Where the metadata of a machine is asked for.
const HOSTS: [&str; 3] = ["169.254.169.254", "169.254.170.2", "metadata.google.internal"];
const NO_BUCKET: &str = "there is no such bucket, make it or mend the URL";
const REFUSED: &str = "the store refuses these credentials, check them and what they permit";

/// Why a request did not do what it should.
pub(super) enum Refused {
    /// There is no such object, or no such bucket.
    NotFound(AdapterError),
    Exists,
    Denied(AdapterError),
    /// The store can't do that.
    Unsupported,
    Other(AdapterError),
}

impl From<Refused> for AdapterError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound(error) | Refused::Denied(error) | Refused::Other(error) => error,
            Refused::Exists => AdapterError::transient("write an object: another one was written"),
            Refused::Unsupported => AdapterError::config("ask the store: it can't do that"),
        }
    }
}

/// A request that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed<'a> {
    pub(super) doing: &'static str,
    pub(super) heard: &'a Heard,
    pub(super) place: &'a Place,
}

/// A status in what the driver wrote about a request.
fn status(text: &str) -> Option<u16> {
    let at = text.find("status code: ")? + "status code: ".len();
    text.get(at..at + 3)?.parse().ok()
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
        let meaning = code.and_then(meaning);
        // What is to be repeated has been given another status.
        let status = status.filter(|_| !matches!(meaning, Some(Meaning::Slow | Meaning::Busy)));
        let named = match (status, code) {
            (Some(status), Some(code)) => format!(" ({status} {code})"),
            (Some(status), None) => format!(" ({status})"),
            (None, Some(code)) => format!(" ({code})"),
            _ => String::new(),
        };
        let say = |failure: Failure, what: &str| {
            AdapterError::new(failure, format!("{}: {what}{named}", self.doing))
        };
        let config = |what: &str| say(Failure::Config, what);
        if let Some(meaning) = meaning {
            let (failure, what) = self.by_code(meaning);
            return match failure {
                // Which request it was does not matter: an object may be there, or not.
                Failure::Config if status == Some(403) => Refused::Denied(say(failure, &what)),
                failure => Refused::Other(say(failure, &what)),
            };
        }
        match error {
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
                    Failure::Throttled(self.heard.left()),
                    "the store asks for fewer requests",
                )),
                Some(408 | 500..=599) => {
                    Refused::Other(say(Failure::Transient, "the store has a failure of its own"))
                }
                Some(300..=399) => Refused::Other(config(&self.elsewhere())),
                Some(_) => Refused::Other(config("the store does not understand it")),
                // A redirect without a place to go to.
                None if text.contains("without LOCATION") => {
                    Refused::Other(config(&self.elsewhere()))
                }
                None => Refused::Other(say(Failure::Transient, self.silence(&error))),
            },
        }
    }

    /// What kind of failure a code stands for, and what to do.
    fn by_code(&self, meaning: Meaning) -> (Failure, String) {
        let text = match meaning {
            Meaning::Slow => "the request came too slowly for the store".to_owned(),
            Meaning::Busy => {
                let text =
                    "the store, or what it asks for keys, asks for fewer requests".to_owned();
                return (Failure::Throttled(self.heard.left()), text);
            }
            Meaning::Conflict => "another write of it is under way".to_owned(),
            Meaning::Clock => {
                let seconds =
                    |at: Timestamp| at.to_string().get(..19).unwrap_or_default().to_owned() + "Z";
                let clocks = self.heard.clocks().map(|(theirs, ours)| {
                    format!(" (here it is {}, there {})", seconds(ours), seconds(theirs))
                });
                format!(
                    "this machine's clock and the store's differ too much, set it{}",
                    clocks.unwrap_or_default()
                )
            }
            Meaning::Token => format!("the token has expired, {}", settings::renew(self.place)),
            Meaning::Region => return (Failure::Config, self.elsewhere()),
            Meaning::Config(text) => return (Failure::Config, text.to_owned()),
        };
        (Failure::Transient, text)
    }

    /// The bucket is somewhere else.
    fn elsewhere(&self) -> String {
        match self.heard.region() {
            Some(region) => format!(
                "the store says that the bucket is in the region {region}, check region= or AWS_REGION, and \
                 the endpoint"
            ),
            None => "the store sends us elsewhere, check the region and the endpoint".to_owned(),
        }
    }

    /// Why there was no answer.
    fn silence(&self, error: &Error) -> &'static str {
        match transport(error) {
            Some(HttpErrorKind::Connect) => "the store can't be reached, check the endpoint",
            Some(HttpErrorKind::Timeout) => "the store does not answer in time",
            Some(HttpErrorKind::Decode) => "the answer makes no sense, check the endpoint",
            Some(_) => "the connection was lost",
            None => "the request failed, check the URL and the credentials",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place::parse("s3://safety/p?session_token=a&access_key_id=b").expect("a URL")
    }

    fn because(error: Error, heard: &Heard) -> AdapterError {
        Failed { doing: "write an object", heard, place: &place() }.because(error).into()
    }

    #[test]
    fn answers_have_kinds_and_what_a_server_says_is_not_repeated() {
        let check = |status: &str, failure: Failure, part: &str| {
            let body = "<Error><Code>SlowDown</Code><Key>canary</Key></Error>";
            let source = format!("Server returned non-2xx status code: {status}: {body}");
            let error = Error::Generic { store: "S3", source: source.into() };
            let error = because(error, &Heard::default());
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
            let error = because(error, &Heard::default());
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
            Failed { doing: "write an object", heard: &Heard::default(), place: &place() }
                .because(error)
        };
        let Refused::Other(error) = conflict("ConditionalRequestConflict") else {
            panic!("it is taken for an object that is there")
        };
        assert_eq!(*error.failure(), Failure::Transient);
        assert!(!error.to_string().contains("canary"), "{error}");
        assert!(matches!(conflict("BlobAlreadyExists"), Refused::Exists));
    }

    /// Each was an answer that stays, by its status: the batch was filed at once.
    #[test]
    fn codes_say_more_than_their_status() {
        let heard = Heard::default();
        heard.set_date("Mon, 30 Nov 2026 17:00:00 GMT");
        heard.set_region("eu-west-1");
        let check = |status: &str, code: &str, failure: Failure, part: &str| {
            let body = format!("<Error><Code>{code}</Code><Message>canary</Message></Error>");
            let source = format!("Server returned non-2xx status code: {status}: {body}");
            let error = match status {
                "403 Forbidden" => {
                    Error::PermissionDenied { path: "canary".into(), source: source.into() }
                }
                _ => Error::Generic { store: "S3", source: source.into() },
            };
            let error = because(error, &heard);
            let said = format!("{error}");
            assert_eq!(*error.failure(), failure, "{said}");
            assert!(
                said.contains(part) && said.contains(code) && !said.contains("canary"),
                "{said}"
            );
        };
        let bad = "400 Bad Request";
        check(
            "503 Service Unavailable",
            "RequestTimeout",
            Failure::Transient,
            "slowly for the store (R",
        );
        check(bad, "KMS.ThrottlingException", Failure::Throttled(None), "fewer requests (KMS.T");
        check(bad, "ExpiredToken", Failure::Transient, "expired, write a new one");
        check("403 Forbidden", "ExpiredToken", Failure::Transient, "expired, write a new one");
        check(
            "403 Forbidden",
            "RequestTimeTooSkewed",
            Failure::Transient,
            "there 2026-11-30T17:00:00Z)",
        );
        check(bad, "AuthorizationHeaderMalformed", Failure::Config, "in the region eu-west-1");
        check(bad, "KMS.DisabledException", Failure::Config, "encryption key");
        check("401 Unauthorized", "InvalidAuthenticationInfo", Failure::Transient, "expired");
        check("403 Forbidden", "AuthenticationFailed", Failure::Config, "whether it has expired");
    }

    #[test]
    fn what_a_server_asked_for_is_passed_on_while_it_lasts() {
        let heard = Heard::default();
        heard.wait(Duration::from_secs(30));
        let source = "Server returned non-2xx status code: 503 Slow Down: ".into();
        let error = because(Error::Generic { store: "S3", source }, &heard);
        assert!(matches!(error.failure(), Failure::Throttled(Some(wait)) if wait.as_secs() >= 29));
        heard.wait(Duration::ZERO);
        assert!(heard.left().is_none_or(|left| left.is_zero()));
    }
}
