//! A small store in memory that speaks the XML interface which Google Cloud Storage and S3 share:
//! PUT, GET, and lists in pages, with the preconditions of either. No emulator of Google's honours
//! them. It can also misbehave as real stores do.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// So few that every test meets several pages.
const PAGE: usize = 7;

/// What it does with preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Honours {
    Google,
    Amazon,
    /// Overwrites whatever is there.
    Nothing,
    /// Answers 501.
    Refuses,
}

#[derive(Debug)]
struct State {
    honours: Honours,
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// So many writes of keys that hold `lost_keys` are stored, and their connections closed without
    /// an answer.
    lost_answers: AtomicU32,
    lost_keys: Mutex<&'static str>,
    /// So many requests are answered with 503 and `Retry-After: 7`.
    busy: AtomicU32,
    /// Lists are answered with 403.
    blind: AtomicBool,
    /// So many conditional writes of keys that hold `lost_keys` meet another one that is under way.
    conflicts: AtomicU32,
    /// What the next writes of keys that hold `lost_keys` are answered with: a status and a code.
    refusals: Mutex<VecDeque<(&'static str, &'static str)>>,
    demands: Mutex<Demands>,
    /// How often somebody asked for credentials.
    credentials: AtomicUsize,
    /// Parts are followed by this many bytes more.
    surplus: AtomicUsize,
    lists: AtomicUsize,
    /// Everything that clients sent but bodies.
    heard: Mutex<String>,
    stopping: AtomicBool,
}

/// What it asks of every request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demands {
    /// A write has a checksum, as where objects are locked.
    pub(crate) checksum: bool,
    /// Requests are signed for this region; others are answered with this status.
    pub(crate) region: Option<(&'static str, &'static str)>,
    /// They are made with the token that was given out so many requests for credentials later.
    pub(crate) token: Option<usize>,
}

/// The store; it ends with its value.
#[derive(Debug)]
pub(crate) struct XmlStore {
    pub(crate) port: u16,
    state: Arc<State>,
}

struct Request {
    method: String,
    path: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl XmlStore {
    pub(crate) fn start(honours: Honours) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            honours,
            objects: Mutex::default(),
            lost_answers: AtomicU32::new(0),
            lost_keys: Mutex::new("events_"),
            busy: AtomicU32::new(0),
            blind: AtomicBool::new(false),
            conflicts: AtomicU32::new(0),
            refusals: Mutex::default(),
            demands: Mutex::default(),
            credentials: AtomicUsize::new(0),
            surplus: AtomicUsize::new(0),
            lists: AtomicUsize::new(0),
            heard: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let state = shared.clone();
                std::thread::spawn(move || serve(&state, stream));
            }
        });
        Self { port, state }
    }

    pub(crate) fn lose_answers(&self, count: u32) {
        self.lose_answers_to("events_", count);
    }

    pub(crate) fn lose_answers_to(&self, keys: &'static str, count: u32) {
        *self.state.lost_keys.lock().unwrap() = keys;
        self.state.lost_answers.store(count, Ordering::SeqCst);
    }

    pub(crate) fn be_busy(&self, count: u32) {
        self.state.busy.store(count, Ordering::SeqCst);
    }

    pub(crate) fn be_blind(&self) {
        self.state.blind.store(true, Ordering::SeqCst);
    }

    pub(crate) fn conflict_over(&self, keys: &'static str, count: u32) {
        *self.state.lost_keys.lock().unwrap() = keys;
        self.state.conflicts.store(count, Ordering::SeqCst);
    }

    pub(crate) fn refuse(&self, keys: &'static str, refusals: &[(&'static str, &'static str)]) {
        *self.state.lost_keys.lock().unwrap() = keys;
        self.state.refusals.lock().unwrap().extend(refusals);
    }

    /// How many refusals are still to come.
    pub(crate) fn refusals(&self) -> usize {
        self.state.refusals.lock().unwrap().len()
    }

    pub(crate) fn demand(&self, demands: Demands) {
        *self.state.demands.lock().unwrap() = demands;
    }

    pub(crate) fn send_more(&self, bytes: usize) {
        self.state.surplus.store(bytes, Ordering::SeqCst);
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.state.objects.lock().unwrap().keys().cloned().collect()
    }

    pub(crate) fn lists(&self) -> usize {
        self.state.lists.load(Ordering::SeqCst)
    }

    pub(crate) fn heard(&self) -> String {
        self.state.heard.lock().unwrap().clone()
    }
}

impl Drop for XmlStore {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn take(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

fn serve(state: &State, stream: TcpStream) {
    let mut input = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut output = stream;
    while let Some(request) = read(&mut input, state) {
        let meant = request.key.contains(*state.lost_keys.lock().unwrap());
        let (status, extra, body) = answer(state, &request);
        if status == "200 OK" && request.method == "PUT" && meant && take(&state.lost_answers) {
            return;
        }
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"1\"\r\nx-goog-generation: 1\r\n\
             Last-Modified: Sun, 01 Mar 2026 00:00:00 GMT\r\n{extra}\r\n",
            body.len()
        );
        if output.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

fn read(input: &mut BufReader<TcpStream>, state: &State) -> Option<Request> {
    let mut line = || -> Option<String> {
        let mut text = String::new();
        input.read_line(&mut text).ok().filter(|n| *n > 0)?;
        state.heard.lock().unwrap().push_str(&text);
        Some(text.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = BTreeMap::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // The bucket comes first.
    let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    let query = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), unescaped(value)))
        .collect();
    let path = path.to_owned();
    Some(Request { method, key: unescaped(key), path, query, headers, body })
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let hex = std::str::from_utf8(&after[..2]).expect("two digits");
            bytes.push(u8::from_str_radix(hex, 16).expect("two digits"));
            rest = &after[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

type Answer = (&'static str, String, Vec<u8>);

fn error(status: &'static str, code: &str) -> Answer {
    let body = format!("<?xml version='1.0'?><Error><Code>{code}</Code></Error>");
    (status, String::new(), body.into_bytes())
}

fn answer(state: &State, request: &Request) -> Answer {
    if take(&state.busy) {
        let (_, _, body) = error("", "SlowDown");
        return ("503 Slow Down", "Retry-After: 7\r\n".to_owned(), body);
    }
    if request.path == "/credentials" {
        let number = state.credentials.fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!(
            "{{\"AccessKeyId\":\"test\",\"SecretAccessKey\":\"testtest\",\"Token\":\"token-{number}\",\
             \"Expiration\":\"2099-01-01T00:00:00Z\"}}"
        );
        return ("200 OK", String::new(), body.into_bytes());
    }
    if let Some(refused) = refuse(state, request) {
        return refused;
    }
    let mut objects = state.objects.lock().unwrap();
    match (request.method.as_str(), request.key.is_empty()) {
        ("PUT", false) => {
            let only_new = match state.honours {
                Honours::Google => {
                    request.headers.get("x-goog-if-generation-match").is_some_and(|g| g == "0")
                }
                Honours::Amazon => request.headers.get("if-none-match").is_some_and(|e| e == "*"),
                Honours::Nothing => false,
                Honours::Refuses if request.headers.contains_key("if-none-match") => {
                    return error("501 Not Implemented", "NotImplemented");
                }
                Honours::Refuses => false,
            };
            let meant = request.key.contains(*state.lost_keys.lock().unwrap());
            if only_new && meant && take(&state.conflicts) {
                return error("409 Conflict", "ConditionalRequestConflict");
            }
            if only_new && objects.contains_key(&request.key) {
                return error("412 Precondition Failed", "PreconditionFailed");
            }
            objects.insert(request.key.clone(), request.body.clone());
            ("200 OK", String::new(), Vec::new())
        }
        ("DELETE", false) => match objects.remove(&request.key) {
            Some(_) => ("204 No Content", String::new(), Vec::new()),
            None => error("404 Not Found", "NoSuchKey"),
        },
        ("GET", false) => match objects.get(&request.key) {
            Some(bytes) => match request.headers.get("range") {
                Some(range) => {
                    let (status, extra, mut body) = part(bytes, range);
                    body.resize(body.len() + state.surplus.load(Ordering::SeqCst), 0);
                    (status, extra, body)
                }
                None => ("200 OK", String::new(), bytes.clone()),
            },
            None => error("404 Not Found", "NoSuchKey"),
        },
        ("GET", true) if state.blind.load(Ordering::SeqCst) => {
            error("403 Forbidden", "AccessDenied")
        }
        ("GET", true) => {
            state.lists.fetch_add(1, Ordering::SeqCst);
            ("200 OK", String::new(), list(&objects, &request.query).into_bytes())
        }
        _ => error("405 Method Not Allowed", "MethodNotAllowed"),
    }
}

/// What a request is refused with, if it does not do what is demanded, or is meant to be.
fn refuse(state: &State, request: &Request) -> Option<Answer> {
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    let demands = *state.demands.lock().unwrap();
    if let Some((region, status)) = demands.region
        && !header("authorization").contains(&format!("/{region}/s3/aws4_request"))
    {
        // A redirect names the region in a header, since a driver may not read its body.
        let body = match status {
            "301 Moved Permanently" => "<Error><Code>PermanentRedirect</Code></Error>".to_owned(),
            _ => format!(
                "<Error><Code>AuthorizationHeaderMalformed</Code><Region>{region}</Region></Error>"
            ),
        };
        return Some((status, format!("x-amz-bucket-region: {region}\r\n"), body.into_bytes()));
    }
    if demands.token.is_some_and(|n| header("x-amz-security-token") != format!("token-{n}")) {
        return Some(error("400 Bad Request", "ExpiredToken"));
    }
    if request.method != "PUT" {
        return None;
    }
    // In hexadecimal for the signature, and in base 64 as the checksum.
    let (signed, checksum) = (header("x-amz-content-sha256"), header("x-amz-checksum-sha256"));
    if demands.checksum && (signed.len(), checksum.len()) != (64, 44) {
        return Some(error("400 Bad Request", "InvalidRequest"));
    }
    if !request.key.contains(*state.lost_keys.lock().unwrap()) {
        return None;
    }
    let (status, code) = state.refusals.lock().unwrap().pop_front()?;
    let (_, _, body) = error(status, code);
    Some((status, "Date: Sun, 01 Mar 2026 12:00:00 GMT\r\n".to_owned(), body))
}

/// What a `Range: bytes=first-last` asks for.
fn part(bytes: &[u8], range: &str) -> Answer {
    let (first, last) = range.trim_start_matches("bytes=").split_once('-').expect("a range");
    let first: usize = first.parse().expect("a number");
    let end = last.parse::<usize>().expect("a number").saturating_add(1).min(bytes.len());
    let header = format!("Content-Range: bytes {first}-{}/{}\r\n", end - 1, bytes.len());
    ("206 Partial Content", header, bytes[first..end].to_vec())
}

fn list(objects: &BTreeMap<String, Vec<u8>>, query: &BTreeMap<String, String>) -> String {
    let text = |name: &str| query.get(name).map_or("", String::as_str);
    let (prefix, delimiter) = (text("prefix"), text("delimiter"));
    let after = text("continuation-token").max(text("start-after")).to_owned();
    let (mut contents, mut folders, mut last) = (String::new(), Vec::<String>::new(), None);
    let wanted = objects.iter().filter(|(key, _)| key.starts_with(prefix) && **key > after);
    for (count, (key, bytes)) in wanted.enumerate() {
        if count == PAGE {
            let token = last.unwrap_or_default();
            contents.push_str(&format!(
                "<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"
            ));
            break;
        }
        last = Some(key.clone());
        match key[prefix.len()..].split_once(delimiter).filter(|_| !delimiter.is_empty()) {
            Some((folder, _)) => folders.push(format!("{prefix}{folder}{delimiter}")),
            None => contents.push_str(&format!(
                "<Contents><Key>{key}</Key><LastModified>2026-03-01T00:00:00.000Z</LastModified>\
                 <ETag>\"1\"</ETag><Size>{}</Size></Contents>",
                bytes.len()
            )),
        }
    }
    folders.dedup();
    for folder in folders {
        contents.push_str(&format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>"));
    }
    format!("<?xml version='1.0'?><ListBucketResult>{contents}</ListBucketResult>")
}
