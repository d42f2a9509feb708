//! No password on a terminal: URLs as they may be shown.
//!
//! Whatever goes to standard error passes through [`redact`], also what the argument parser quotes
//! from the command line. It errs on the side of hiding too much.

use std::borrow::Cow;

/// What stands for a secret.
const HIDDEN: &str = "***";

/// `text` with the password of every URL in it, and the value of every `password=`, hidden.
///
/// ```
/// use namel3ss_safety::internal::redact::redact;
/// assert_eq!(redact("open postgres://ann:s3cret@db/x: refused"), "open postgres://ann:***@db/x: refused");
/// assert_eq!(redact("sqlite:///a.db"), "sqlite:///a.db");
/// ```
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    if !text.contains(['@', '=']) {
        return Cow::Borrowed(text);
    }
    let text = quoted(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(|c: char| !c.is_whitespace()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let end = url_with_spaces(rest, end).unwrap_or(end);
        out.push_str(&word(&rest[..end]));
        rest = &rest[end..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// `text` without the values of secret keys that have spaces: `password='a b'`, `password = x`, as
/// connection strings of PostgreSQL may be written.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = rest.split_at(at + 1);
        out.push_str(before);
        rest = after;
        let name = before[..at].trim_end();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let key = name.trim_end_matches(is_name);
        let key = &name[key.len()..];
        let value = rest.trim_start();
        let spaced = value.len() < rest.len() || name.len() < at;
        if !is_secret(key) {
            continue;
        }
        let end = match value.chars().next() {
            Some(quote @ ('\'' | '"')) => closing(value, quote),
            Some(_) if spaced => value.find(char::is_whitespace).unwrap_or(value.len()),
            _ => continue,
        };
        out.push_str(&rest[..rest.len() - value.len()]);
        out.push_str(HIDDEN);
        rest = &value[end..];
    }
    out.push_str(rest);
    out
}

/// Just behind the quote that ends what begins with one; the whole text where none does.
fn closing(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Where a URL ends whose password has spaces, if the first word of `text` begins such a one.
fn url_with_spaces(text: &str, end: usize) -> Option<usize> {
    let (_, tail) = text[..end].split_once("://")?;
    let (_, password) = tail.split_once(':').filter(|_| !tail.contains('@'))?;
    // A port, and then nothing that could be a password.
    let port = password.find(|c: char| !c.is_ascii_digit()).unwrap_or(password.len());
    if port > 0 && !password[port..].starts_with(|c: char| c.is_alphanumeric()) {
        return None;
    }
    let at = end + text[end..].find('@').filter(|at| !text[end..end + at].contains("://"))?;
    Some(at + text[at..].find(char::is_whitespace).unwrap_or(text.len() - at))
}

/// One word: the URL in it, if any, then its parameters.
fn word(word: &str) -> String {
    let (head, tail) = match word.find("://") {
        Some(at) => word.split_at(at + 3),
        None => ("", word),
    };
    // A password may itself hold any of `/ ? @`, so the last `@` of all ends it. A scheme may have been
    // forgotten.
    let at = tail.rfind('@').filter(|at| !head.is_empty() || tail[..*at].contains(':'));
    let (user, tail) = match (head.is_empty(), at) {
        // Behind a `?` there is no telling where a secret ends.
        (false, Some(at)) if tail[..at].contains('?') => return format!("{head}{HIDDEN}"),
        (_, Some(at)) => {
            let (userinfo, rest) = tail.split_at(at);
            let user = match userinfo.split_once(':') {
                Some((user, _)) => format!("{}:{HIDDEN}", parameters(user)),
                None => parameters(userinfo),
            };
            (user, rest)
        }
        _ => (String::new(), tail),
    };
    format!("{head}{user}{}", parameters(tail))
}

/// `key=value` pairs behind `?`, `&` or nothing at all, with the values of secret keys hidden.
fn parameters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for pair in text.split_inclusive(['?', '&', ';']) {
        match pair.split_once('=') {
            Some((key, value)) if is_secret(key) => {
                // What ends the pair is punctuation of the sentence or of the URL: it stays.
                let secret = value.trim_end_matches(['?', '&', ';', '\'', '"', ':', ',']);
                out.push_str(key);
                out.push('=');
                out.push_str(HIDDEN);
                out.push_str(&value[secret.len()..]);
            }
            _ => out.push_str(pair),
        }
    }
    out
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token", "signature", "credential", "_key", "accesskey"]
        .iter()
        .any(|word| key.contains(word))
        || ["sig", "key"].iter().any(|word| key.ends_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn passwords_go_and_the_rest_stays() {
        for (text, shown) in [
            ("postgresql://u:p@h:5432/db", "postgresql://u:***@h:5432/db"),
            ("'postgres://u:p/a?b@ss@h/db'", "'postgres://***"),
            ("mysql://h/db?user=u&password=p&ssl=1", "mysql://h/db?user=u&password=***&ssl=1"),
            ("host=h password=p dbname=d", "host=h password=*** dbname=d"),
            ("s3://b/k?aws_secret_access_key=x", "s3://b/k?aws_secret_access_key=***"),
            ("az://c/k?sig=abc%3D", "az://c/k?sig=***"),
            (
                "s3://b/k?sse_customer_key_base64=x&rows=1",
                "s3://b/k?sse_customer_key_base64=***&rows=1",
            ),
            ("read 'u:p@h:5432/db': no", "read 'u:***@h:5432/db': no"),
            ("password=p:q@r host=h", "password=***:***@r host=h"),
            ("from ann@h.example: no", "from ann@h.example: no"),
            ("postgres://u@h/db", "postgres://u@h/db"),
            ("a = b", "a = b"),
            ("read password='a b': no", "read password=***: no"),
            ("host=h password = 'a \\' b' dbname=d", "host=h password = *** dbname=d"),
            ("password=\"a b\" host=h", "password=*** host=h"),
            ("password = a host=h", "password = *** host=h"),
            ("password='a b", "password=***"),
            ("open postgres://u:a b c@h/db: no", "open postgres://u:***@h/db: no"),
            ("open postgres://h:5432/db: ask ann@h", "open postgres://h:5432/db: ask ann@h"),
            ("action=block", "action=block"),
        ] {
            assert_eq!(redact(text), shown);
        }
    }

    proptest! {
        /// Whatever else stands in the password, also what has a meaning in URLs.
        #[test]
        fn a_canary_never_shows(before in "[a-z/?&=@:]{0,8}", after in "[a-z0-9/?&=@:]{0,8}") {
            let url = format!("open 'postgres://user:{before}CANARY{after}@host/db?x=1': no");
            prop_assert!(!redact(&url).contains("CANARY"), "{}", redact(&url));
            let url = format!("mysql://host/db?password={}CANARY", before.replace(['&', '?'], ""));
            prop_assert!(!redact(&url).contains("CANARY"), "{}", redact(&url));
        }
    }
}
