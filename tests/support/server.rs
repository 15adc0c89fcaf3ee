//! A server on this machine that guests may or may not reach, and that remembers who came.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Listens until dropped. Speaks as much HTTP as the guests need:
///
/// | path | answer |
/// | --- | --- |
/// | `/bytes/N` | so many bytes |
/// | `/endless` | bytes for as long as somebody takes them |
/// | `/continues` | heads that say that an answer will come, for as long as somebody takes them |
/// | `/silent` | nothing, ever |
/// | `/stalled` | a head and five bytes of ten, and then nothing |
/// | `/slow` | `hello`, after a while |
/// | `/redirect/HOST:PORT` | `302` to that place |
/// | any other | `hello` |
///
/// A line that is no HTTP is repeated, but for `silence`, which is answered with nothing, ever.
pub(crate) struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// A server on 127.0.0.1.
    pub(crate) fn start() -> Self {
        Self::listen("127.0.0.1:0")
    }

    fn listen(address: &str) -> Self {
        let listener = TcpListener::bind(address).expect("loopback can be listened on");
        let address = listener.local_addr().expect("it listens");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        // Ends with the test's process; each is a few idle threads.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                // A client that goes away in the middle is what many tests are about.
                std::thread::spawn(move || drop(serve(stream, &seen)));
            }
        });
        Self { address, heads }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// What came so far: the head of each request, or the first line of anything else.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    reader.read_line(&mut head)?;
    let is_http = head.trim_end().ends_with("HTTP/1.1");
    while is_http && !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(head.clone());
    if head.starts_with("silence") {
        return stream.read(&mut [0]).map(drop);
    }
    if !is_http {
        return write!(stream, "you said {}", head.trim_end());
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        drain_chunks(&mut reader)?;
    }
    if let Some(place) = path.strip_prefix("/redirect/") {
        let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://";
        return write!(stream, "{head}{place}/\r\n\r\n");
    }
    let body = match path {
        "/silent" => return stream.read(&mut [0]).map(drop),
        "/stalled" => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")?;
            return stream.read(&mut [0]).map(drop);
        }
        "/endless" => {
            write!(stream, "HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 65_536])?;
            }
        }
        "/continues" => loop {
            stream.write_all("HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n".repeat(1_000).as_bytes())?;
        },
        "/slow" => {
            // Not a wait for anything: this is the slowness of the server.
            std::thread::sleep(Duration::from_millis(500));
            b"hello".to_vec()
        }
        path => match path.strip_prefix("/bytes/").and_then(|count| count.parse().ok()) {
            Some(count) => vec![b'x'; count],
            None => b"hello".to_vec(),
        },
    };
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

fn drain_chunks(reader: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let size = u64::from_str_radix(size.trim(), 16).unwrap_or(0);
        // Each chunk ends with a line's end.
        std::io::copy(&mut reader.by_ref().take(size + 2), &mut std::io::sink())?;
        if size == 0 {
            return Ok(());
        }
    }
}
