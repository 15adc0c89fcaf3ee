//! An address that stays the same while the host behind it is stopped, started again elsewhere, or cut off.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::command::Typed;
use super::{Host, eventually};

/// What leads to a host, or for a while to nobody.
pub(crate) struct Door {
    address: String,
    behind: Arc<Mutex<Option<String>>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    entered: Arc<AtomicUsize>,
    /// All that came from the host.
    passed: Arc<Mutex<Vec<u8>>>,
}

impl Door {
    /// A new address for a host.
    pub(crate) fn to(host: &Host) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let door = Self {
            address,
            behind: Arc::default(),
            open: Arc::default(),
            entered: Arc::default(),
            passed: Arc::default(),
        };
        door.lead_to(host);
        let (behind, open, entered) = (Arc::clone(&door.behind), Arc::clone(&door.open), Arc::clone(&door.entered));
        let passed = Arc::clone(&door.passed);
        // Ends with the process of the test; whoever comes after the test finds nobody behind it.
        std::thread::spawn(move || {
            for outside in listener.incoming().map_while(Result::ok) {
                let address = behind.lock().expect("nobody panics with it").clone();
                // Nobody behind the door: the connection is closed.
                let Some(inside) = address.and_then(|address| TcpStream::connect(address).ok()) else { continue };
                open.lock().expect("nobody panics with it").push(share(&outside));
                pass_on(&outside, &inside, |_| {});
                let passed = Arc::clone(&passed);
                pass_on(&inside, &outside, move |bytes| {
                    passed.lock().expect("nobody panics with it").extend_from_slice(bytes);
                });
                entered.fetch_add(1, Ordering::Relaxed);
            }
        });
        door
    }

    /// From now on it leads there.
    pub(crate) fn lead_to(&self, host: &Host) {
        let address = host.process().address().trim_start_matches("http://").to_owned();
        *self.behind.lock().expect("nobody panics with it") = Some(address);
    }

    /// From now on it leads nowhere.
    pub(crate) fn close(&self) {
        *self.behind.lock().expect("nobody panics with it") = None;
    }

    /// Breaks off every connection through it.
    pub(crate) fn cut(&self) {
        for connection in self.open.lock().expect("nobody panics with it").drain(..) {
            // It may have ended already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// How many came through it.
    pub(crate) fn entered(&self) -> usize {
        self.entered.load(Ordering::Relaxed)
    }

    /// Waits until so many came through it.
    pub(crate) fn was_entered(&self, times: usize) {
        eventually("somebody comes through the door", || (self.entered() >= times).then_some(()));
    }

    /// Waits until the host has said this through it.
    pub(crate) fn was_told(&self, text: &str) {
        eventually("the host says it through the door", || {
            let passed = self.passed.lock().expect("nobody panics with it");
            passed.windows(text.len()).any(|window| window == text.as_bytes()).then_some(())
        });
    }

    /// Types a command about whatever is behind it.
    pub(crate) fn types(&self, host: &Host, words: &[&str]) -> Typed {
        Typed::start(&[], words, &self.address, Stdio::null(), host.setup().folder())
    }
}

fn share(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a connection can be shared")
}

/// Copies from one connection to the other until either ends, and shows what has gone over.
fn pass_on(from: &TcpStream, to: &TcpStream, show: impl Fn(&[u8]) + Send + 'static) {
    let (mut from, mut to) = (share(from), share(to));
    std::thread::spawn(move || {
        let mut piece = vec![0; 64 << 10];
        // A connection may break at any time; then the other goes too.
        while let Ok(size @ 1..) = from.read(&mut piece) {
            if to.write_all(&piece[..size]).is_err() {
                break;
            }
            show(&piece[..size]);
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
