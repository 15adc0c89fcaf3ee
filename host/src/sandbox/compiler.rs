//! Turns components into machine code, for a host in a process of its own.
//!
//! A compiler meets whatever somebody dropped into a folder. Apart from the host it may run out of memory, or crash, and costs that file
//! alone; what it used is the system's again when it ends, where the host's allocator would keep a third as much as an idle host needs;
//! and a host that stops need not wait for it. The process is this same program, asked for [`answer`].

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic;
use std::process::{Child, Command, ExitStatus, Stdio};

use rayon_core::{ThreadPool, ThreadPoolBuilder};
use rustix::process::{Signal, set_parent_process_death_signal};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::compiled::machine_code;
use super::engine::config;
use super::merge::merged;
use super::{Capacity, NotAPlugin};
use crate::priority;

/// The command that [`answer`]s. It is nobody's to type.
pub const COMMAND: &str = "__compile";
/// The first bytes of an answer. A byte follows that says whether the rest is code or a reason, and how long the rest is.
const MAGIC: &[u8; 8] = b"dropcomp";
const CODE: u8 = 0;
const REASON: u8 = 1;
/// This program, also where its file has been replaced meanwhile.
const PROGRAM: &str = "/proc/self/exe";
/// Where a process says how gladly it is given up when memory runs out, and the most it can say.
const GIVEN_UP: (&str, &str) = ("/proc/self/oom_score_adj", "1000");

/// Where a process says what lists of processes call it, and what they do. By its file this one would be called "exe".
const NAME: (&str, &str) = ("/proc/self/comm", "dropforge-comp");

/// Where components are compiled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Compiler {
    /// On threads of this process, behind everything else that it does or not.
    Here { behind: bool },
    /// In a process of its own, for an engine with this capacity.
    Apart(Capacity),
}

impl Compiler {
    /// Compiles a component, on as many threads as there are processors. Blocks.
    pub(super) fn compile(self, engine: &Engine, bytes: &[u8]) -> Result<Component, NotAPlugin> {
        match self {
            Self::Here { behind } => here(behind, bytes, |bytes| Component::from_binary(engine, bytes)),
            Self::Apart(capacity) => match ask(capacity, bytes) {
                Ok(answer) => machine_code(engine, &answer?).map_err(|error| {
                    NotAPlugin(format!("the host could not take over what its compiler made: {error:#}"))
                }),
                // A system that lets no process be started, or shows none of them.
                Err(error) => {
                    tracing::warn!(%error, "no process could be started to compile in; the host compiles itself");
                    here(true, bytes, |bytes| Component::from_binary(engine, bytes))
                }
            },
        }
    }
}

fn here<T: Send>(
    behind: bool,
    bytes: &[u8],
    compile: impl Fn(&[u8]) -> wasmtime::Result<T> + Send + Sync,
) -> Result<T, NotAPlugin> {
    let threads = threads(behind)
        .map_err(|error| NotAPlugin(format!("the host could not start threads to compile it: {error}")))?;
    let compiled = threads.install(|| match merged(bytes).ok().flatten().map(|merged| compile(&merged)) {
        Some(Ok(compiled)) => Ok(compiled),
        // As it is, and where that cannot be compiled either, the reason is about what its author wrote.
        _ => compile(bytes),
    });
    compiled.map_err(|error| NotAPlugin(format!("the component is not valid: {error:#}")))
}

/// Threads of their own: in a pool shared by all, a small file would wait for the large ones before it.
fn threads(behind: bool) -> Result<ThreadPool, rayon_core::ThreadPoolBuildError> {
    let threads = ThreadPoolBuilder::new().thread_name(|_| "compile".to_owned());
    let lower = move |_| {
        if behind {
            priority::lowest();
        }
    };
    threads.start_handler(lower).build()
}

/// Has another process compile; answers the code, or why there is none. An error means that nobody could be asked.
fn ask(capacity: Capacity, bytes: &[u8]) -> io::Result<Result<Vec<u8>, NotAPlugin>> {
    let mut command = Command::new(PROGRAM);
    command.arg0("dropforge").arg(COMMAND);
    command.args([capacity.guests_max.to_string(), capacity.memory_bytes_max.to_string()]);
    // It needs nothing of the host's, least of all its secrets and its folder. Ctrl-C is for the host, which decides what ends then.
    command.env_clear().current_dir("/").process_group(0);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let greeted = greeting(&mut child);
    if let Err(error) = greeted {
        return match end(&mut child, &error) {
            Some(status) if status.signal().is_some() => Ok(Err(NotAPlugin(died(Some(status))))),
            _ => Err(error),
        };
    }
    // From here on the file is in its hands, and what it cannot take the host had better not meet.
    Ok(match converse(&mut child, bytes) {
        Ok(answer) => {
            let status = child.wait().ok();
            understood(answer).unwrap_or_else(|| Err(NotAPlugin(died(status))))
        }
        Err(error) => {
            end(&mut child, &error);
            Err(NotAPlugin(format!("the host could not talk to the compiler of this file: {error}")))
        }
    })
}

/// Its first words.
fn greeting(child: &mut Child) -> io::Result<()> {
    let mut magic = [0; MAGIC.len()];
    child.stdout.as_mut().ok_or(io::ErrorKind::NotConnected)?.read_exact(&mut magic)?;
    if magic == *MAGIC { Ok(()) } else { Err(io::Error::other("it did not answer as a compiler does")) }
}

/// Has it end, unless it is about to, and answers how it did, where the system tells.
fn end(child: &mut Child, error: &io::Error) -> Option<ExitStatus> {
    if error.kind() != io::ErrorKind::UnexpectedEof {
        // It may be at anything.
        let _ = child.kill();
    }
    child.wait().ok()
}

/// It reads all before it goes on.
fn converse(child: &mut Child, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (mut stdin, mut stdout) = stdin.zip(stdout).ok_or(io::ErrorKind::NotConnected)?;
    match stdin.write_all(bytes) {
        // It has ended; how is told by its status.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
        _ => drop(stdin),
    }
    let mut answer = Vec::new();
    stdout.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The code or the reason, if all of it has come.
fn understood(mut answer: Vec<u8>) -> Option<Result<Vec<u8>, NotAPlugin>> {
    let (what, rest) = answer.split_first()?;
    let (length, rest) = rest.split_first_chunk::<8>()?;
    if u64::from_le_bytes(*length) != rest.len() as u64 {
        return None;
    }
    match *what {
        CODE => Some(Ok(answer.split_off(9))),
        REASON => Some(Err(NotAPlugin(String::from_utf8_lossy(rest).into_owned()))),
        _ => None,
    }
}

fn died(status: Option<ExitStatus>) -> String {
    let how = status.map(|status| format!(" with {status}")).unwrap_or_default();
    // The system ends what takes too much in one way, an allocator that gets no memory in the other.
    let is_memory = status.and_then(|status| status.signal()).is_some_and(|signal| [6, 9].contains(&signal));
    let why = if is_memory { "; most often there is not enough memory for it" } else { "" };
    format!("the compiler ended{how} while it compiled this file{why}. Touch the file to have it tried again")
}

/// Compiles what it reads, for an engine with the capacity that `words` say, and writes the code, or why there is none. For a host that
/// asks; blocks.
///
/// # Errors
///
/// If nobody who knows how has asked, or the host has gone.
pub fn answer(words: &[String], mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let [guests_max, memory_bytes_max] = words else { return Err(io::ErrorKind::InvalidInput.into()) };
    let guests_max = guests_max.parse().map_err(io::Error::other)?;
    let capacity = Capacity { guests_max, memory_bytes_max: memory_bytes_max.parse().map_err(io::Error::other)? };
    priority::lowest();
    // Nobody waits for it once the host has gone. Where the system refuses, it ends when it finds nobody to write to.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = std::fs::write(GIVEN_UP.0, GIVEN_UP.1);
    let _ = std::fs::write(NAME.0, NAME.1);
    output.write_all(MAGIC)?;
    output.flush()?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let compiled = panic::catch_unwind(|| {
        let engine = Engine::new(&config(capacity));
        let engine = engine.map_err(|error| NotAPlugin(format!("the compiler could not begin: {error:#}")))?;
        // Loaded as the host will: an engine compiles what it does not load.
        here(true, &bytes, |bytes| Component::from_binary(&engine, bytes)?.serialize())
    });
    let (what, rest) = match compiled {
        Ok(Ok(code)) => (CODE, code),
        Ok(Err(NotAPlugin(reason))) => (REASON, reason.into_bytes()),
        Err(_) => (REASON, b"the compiler panicked on this file, which is a fault of the compiler".to_vec()),
    };
    output.write_all(&[what])?;
    output.write_all(&(rest.len() as u64).to_le_bytes())?;
    output.write_all(&rest)?;
    output.flush()
}
