//! A way to a server that can be made to fail: nothing comes through, connections are reset, or a
//! server does what it is asked and its answer is lost.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Lives until its process ends.
#[derive(Clone)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    pub(crate) port: u16,
}

struct Shared {
    /// Where the server is now.
    server: Arc<AtomicU16>,
    /// Nothing comes through, and nobody is told.
    hole: AtomicBool,
    /// The next request that has this in it is done, and its answer is lost.
    last_word: &'static [u8],
    lose_answer: AtomicBool,
    answers_lost: AtomicU64,
    /// What clients have sent since somebody asked, if anybody has.
    heard: Mutex<Option<Vec<u8>>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn to(server: Arc<AtomicU16>, last_word: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            server,
            hole: AtomicBool::new(false),
            last_word,
            lose_answer: AtomicBool::new(false),
            answers_lost: AtomicU64::new(0),
            heard: Mutex::default(),
            open: Mutex::default(),
        });
        let own = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = own.clone();
                std::thread::spawn(move || shared.connect(client));
            }
        });
        Self { shared, port }
    }

    /// From now on nothing comes through, or everything does.
    pub(super) fn set_hole(&self, hole: bool) {
        self.shared.hole.store(hole, Ordering::SeqCst);
        if !hole {
            // What was swallowed meanwhile will never be answered.
            self.reset();
        }
    }

    /// Resets every connection.
    pub(super) fn reset(&self) {
        for stream in self.shared.open.lock().expect("a lock").drain(..) {
            reset(&stream);
        }
    }

    /// Has the answer to the next request with the last word in it lost.
    pub(super) fn lose_next_answer(&self) {
        self.shared.lose_answer.store(true, Ordering::SeqCst);
    }

    /// What clients have sent since this was called last.
    pub(crate) fn heard(&self) -> Vec<u8> {
        self.shared.heard.lock().expect("a lock").replace(Vec::new()).unwrap_or_default()
    }

    /// How many answers were lost so.
    pub(super) fn answers_lost(&self) -> u64 {
        self.shared.answers_lost.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn connect(self: Arc<Self>, client: TcpStream) {
        let server = TcpStream::connect(("127.0.0.1", self.server.load(Ordering::SeqCst)));
        let Ok(server) = server else { return reset(&client) };
        let losing = Arc::new(AtomicBool::new(false));
        let clones = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
        let (Some(there), Some(back)) = (clones(), clones()) else { return reset(&client) };
        self.open.lock().expect("a lock").extend([client, server]);
        let (shared, loses) = (self.clone(), losing.clone());
        std::thread::spawn(move || {
            shared.pass(&there.0, &there.1, |bytes| {
                if let Some(heard) = &mut *shared.heard.lock().expect("a lock") {
                    heard.extend_from_slice(bytes);
                }
                let is_last = bytes.windows(shared.last_word.len()).any(|w| w == shared.last_word);
                if is_last && shared.lose_answer.swap(false, Ordering::SeqCst) {
                    losing.store(true, Ordering::SeqCst);
                }
                true
            });
        });
        self.pass(&back.1, &back.0, |_| {
            if loses.load(Ordering::SeqCst) {
                self.answers_lost.fetch_add(1, Ordering::SeqCst);
                reset(&back.0);
                return false;
            }
            true
        });
    }

    /// Passes on what comes, as long as `goes_on` says so.
    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream, goes_on: impl Fn(&[u8]) -> bool) {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            while self.hole.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            if !goes_on(&bytes[..n]) || to.write_all(&bytes[..n]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

/// Ends a connection with a reset instead of in order.
fn reset(stream: &TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}
