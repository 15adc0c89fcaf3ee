//! Somebody who is told how jobs end: a server on this machine that remembers what it got and answers as a test likes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::eventually;

/// 32 bytes, as `webhook_secrets` has them.
pub(crate) const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// A message as it came.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Instant,
}

impl Told {
    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("visible ASCII"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Whether it was signed with this secret, as another implementation sees it.
    pub(crate) fn is_signed_with(&self, secret: &str) -> bool {
        let verifier = standardwebhooks::Webhook::new(secret).expect("a secret");
        verifier.verify(&self.body, &self.headers).is_ok()
    }
}

/// The status line and fields of an answer, or none, ever.
type Answer = Option<String>;
type Answers = Box<dyn Fn(&Told, usize) -> Answer + Send + Sync>;

struct Shared {
    told: Mutex<Vec<Told>>,
    answer: Answers,
    held: Mutex<bool>,
    released: Condvar,
}

/// Listens on loopback until the test's process ends.
#[derive(Clone)]
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Answers with what `answer` says about a message of which so many with the same path came before, such as `200 OK` or
    /// `503 Later\r\nRetry-After: 2`.
    pub(crate) fn answering(answer: impl Fn(&Told, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
        let address = listener.local_addr().expect("it listens");
        let shared = Arc::new(Shared {
            told: Mutex::default(),
            answer: Box::new(answer),
            held: Mutex::new(false),
            released: Condvar::new(),
        });
        let receiver = Self { address, shared };
        let serving = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let serving = serving.clone();
                // A host that goes away in the middle is what some tests are about.
                std::thread::spawn(move || drop(serving.serve(stream)));
            }
        });
        receiver
    }

    /// Takes everything.
    pub(crate) fn start() -> Self {
        Self::answering(|_, _| Some("204 No Content".to_owned()))
    }

    /// Takes nothing, and says so with this status.
    pub(crate) fn refusing(status: &'static str) -> Self {
        Self::answering(move |_, _| Some(status.to_owned()))
    }

    /// Never answers.
    pub(crate) fn silent() -> Self {
        Self::answering(|_, _| None)
    }

    /// Holds its answers back from now on.
    pub(crate) fn hold(&self) {
        *lock(&self.shared.held) = true;
    }

    /// Gives the answers it holds back.
    pub(crate) fn release(&self) {
        *lock(&self.shared.held) = false;
        self.shared.released.notify_all();
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// A URL of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port())
    }

    /// What came so far.
    pub(crate) fn told(&self) -> Vec<Told> {
        lock(&self.shared.told).clone()
    }

    /// What came, once so many messages have.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Told> {
        eventually(&format!("{count} messages"), || Some(self.told()).filter(|told| told.len() >= count))
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let told = read(&stream)?;
        let before = {
            let mut all = lock(&self.shared.told);
            let before = all.iter().filter(|earlier| earlier.path == told.path).count();
            all.push(told.clone());
            before
        };
        let mut held = lock(&self.shared.held);
        while *held {
            held = self.shared.released.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        drop(held);
        match (self.shared.answer)(&told, before) {
            Some(head) => write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            None => stream.read(&mut [0]).map(drop),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(stream: &TcpStream) -> std::io::Result<Told> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    assert!(line.starts_with("POST /"), "{line}");
    let mut headers = HeaderMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field has a name");
        headers.append(name, HeaderValue::from_str(value.trim()).expect("and a value"));
    }
    let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = vec![0; length.expect("it says how long it is")];
    reader.read_exact(&mut body)?;
    Ok(Told { path, headers, body, at: Instant::now() })
}
