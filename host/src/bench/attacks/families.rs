//! The attacks that are measured, and the files, settings and neighbours they need.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::NO_OP;

/// Most attacks in one plugin; see `attacks.wat`.
pub(super) const ATTACKS: &[u8] = include_bytes!("../attacks.wasm");
/// The same, whose `describe` never ends.
pub(super) const DESCRIBE: &[u8] = include_bytes!("describe.wasm");
/// Attacks by a program with folders; see `program.wat`.
pub(super) const PROGRAM: &[u8] = include_bytes!("program.wasm");
/// A program whose start function never ends; see `start.wat`.
pub(super) const START: &[u8] = include_bytes!("start.wasm");
/// The guest of the tests that tries what its input says; see `tests/guests/probe`.
const PROBE: &[u8] = include_bytes!("../../../../tests/guests/probe.wasm");
/// The file in the granted folder.
const GRANTED_BYTES: usize = 4 << 20;

/// An attack that never ends by itself.
pub(super) struct Family {
    pub(super) attack: &'static str,
    pub(super) kind: &'static str,
    pub(super) input: String,
}

/// By the letter that chooses them in `attack`.
const OF_ONE_PLUGIN: [(char, &str); 26] = [
    ('a', "loop in a function"),
    ('b', "loop in the allocator"),
    ('c', "loop in the clean-up after the result"),
    ('d', "loop in a destructor"),
    ('e', "recursion"),
    ('f', "exceptions thrown and caught"),
    ('y', "the same while 500,000 are held"),
    ('g', "filling a table"),
    ('h', "filling 64 MiB of memory"),
    ('i', "filling 256 MiB of memory"),
    ('j', "filling 512 MiB of memory"),
    ('k', "progress, 1 MB each"),
    ('l', "log, 1 MB each"),
    ('m', "log, 19 bytes each"),
    ('n', "reading 1 MiB of input"),
    ('o', "opening and reading streams"),
    ('p', "random bytes"),
    ('q', "artifacts that are refused"),
    ('z', "3,000 artifacts being kept"),
    ('r', "blocking flushes"),
    ('s', "child jobs that are refused"),
    ('t', "checkpoints, 1 MB each"),
    ('u', "sleeping for an hour"),
    ('v', "sleeping for a millisecond each"),
    ('w', "waiting for 1,000 things"),
    ('x', "looking at 4,500 things that are ready"),
];

/// All of them, those that wait for the network with this peer.
pub(super) fn families(peer: SocketAddr) -> Vec<Family> {
    // The letter, and for those who read it a long input.
    let input = |letter: char| letter.to_string().repeat(if matches!(letter, 'n' | 'o') { 1 << 20 } else { 1 });
    let of_one = OF_ONE_PLUGIN.map(|(letter, attack)| Family { attack, kind: "attack", input: input(letter) });
    let of = |kind, input: String, attack| Family { attack, kind, input };
    let others = [
        of("start", String::new(), "loop in a start function"),
        of("program", "a".to_owned(), "filling /out, 32 MB each time"),
        of("program", "b".to_owned(), "making and removing files in /out"),
        of("program", "c".to_owned(), "reading a granted folder"),
        of("network", format!("http GET http {peer} /"), "waiting for an HTTP response"),
        of("network", format!("tcp {peer} hello"), "waiting for bytes of a TCP connection"),
    ];
    of_one.into_iter().chain(others).collect()
}

/// Fills the plugin folder with all attacks and a good plugin.
pub(super) fn prepare(plugins: &Path, peer: SocketAddr) -> anyhow::Result<()> {
    let granted = plugins.join("granted");
    fs::create_dir_all(&granted)?;
    fs::write(granted.join("file"), vec![b'x'; GRANTED_BYTES])?;
    let (address, port) = (peer.ip(), peer.port());
    let reach = format!("host = \"{address}\"\nport = {port}\n");
    let texts = [
        (
            "program.toml",
            "scratch = true\nscratch_bytes = 67108864\n[[folders]]\nguest = \"/g\"\nhost = \"granted\"\n".to_owned(),
        ),
        // Filling memory that is at hand burns more in a millisecond than the host's own setting allows for, and time is to end these.
        ("attack.toml", "fuel_per_ms = 1000000000\n".to_owned()),
        ("network.toml", format!("[[http]]\nscheme = \"http\"\n{reach}[[tcp]]\n{reach}")),
    ];
    for (name, text) in texts {
        fs::write(plugins.join(name), text)?;
    }
    let files =
        [("attack", ATTACKS), ("good", NO_OP.as_slice()), ("start", START), ("program", PROGRAM), ("network", PROBE)];
    for (kind, bytes) in files {
        put(plugins, kind, bytes)?;
    }
    Ok(())
}

/// Puts a file into the plugin folder, in one step, as if it had been there for a while: nobody waits for it to come to rest.
pub(super) fn put(plugins: &Path, kind: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let hidden = plugins.join(".new");
    fs::write(&hidden, bytes)?;
    File::options().write(true).open(&hidden)?.set_modified(SystemTime::now() - Duration::from_secs(60))?;
    fs::rename(hidden, plugins.join(format!("{kind}.wasm"))).context("the plugin folder can be written")
}

/// Takes connections on loopback, and never says anything. Dropped, it stops with its runtime.
pub(super) async fn silent_peer() -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let taken = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    Ok((address, taken))
}
