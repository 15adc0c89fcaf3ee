//! The `dropforge` process: started, watched, ended.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// The binary, with nothing of the developer's own settings, and with a limit of open files if one is given.
pub(super) fn dropforge(open_files_max: Option<u32>) -> Command {
    let binary = env!("CARGO_BIN_EXE_dropforge");
    let mut command = match open_files_max {
        None => Command::new(binary),
        Some(count) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("ulimit -n {count} && exec \"$0\" \"$@\"")).arg(binary);
            shell
        }
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DROPFORGE_") {
            command.env_remove(name);
        }
    }
    command
}

/// Whether a process can have mounts of its own here, which takes root; says so if not.
pub(crate) fn can_mount_apart() -> bool {
    let tried = Command::new("unshare").args(["--mount", "mount", "--bind", "/etc", "/mnt"]).output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("skipped: mounts of the host's own need root, unshare and mount");
    }
    can
}

/// The same command, where nobody else sees what this script mounts before.
pub(super) fn mounting(command: &Command, script: &str) -> Command {
    let mut apart = Command::new("unshare");
    apart.args(["--mount", "sh", "-c", &format!("{{ {script}; }} && exec \"$0\" \"$@\"")]);
    apart.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => apart.env(name, value),
            None => apart.env_remove(name),
        };
    }
    apart
}

/// How a process ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

/// A process. Dropped, it is killed and reaped.
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    log: PathBuf,
    address: Option<String>,
}

impl Process {
    /// Starts a command; what it logs goes to a file in this folder.
    pub(super) fn start(mut command: Command, folder: &Path) -> Self {
        let log = folder.join("stderr.log");
        let stderr = File::options().create(true).append(true).open(&log).expect("the log file can be written");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = command.spawn().expect("the binary was built and starts");
        let lines = Arc::default();
        let stdout = child.stdout.take().expect("its standard output is piped");
        let into = Arc::clone(&lines);
        let reader = Some(std::thread::spawn(move || read(stdout, &into)));
        Self { child, lines, reader, log, address: None }
    }

    /// Waits for the line that says where the host listens, or for its end; says whether it listens.
    pub(crate) fn comes_up(&mut self) -> bool {
        let line = eventually("the host says where it listens", || {
            let ended = self.child.try_wait().expect("it is our child").is_some();
            let line = self.stdout().into_iter().next();
            (ended || line.is_some()).then_some(line)
        });
        let address = line.map(|line| line.strip_prefix("listening on ").expect("it says where it listens").to_owned());
        self.address = address;
        self.address.is_some()
    }

    /// Where it listens, `http://…`.
    pub(crate) fn address(&self) -> &str {
        self.address.as_deref().expect("the host has said where it listens")
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is our child");
    }

    /// Stops all its threads, and returns once none of them does anything any more: on a busy machine some go on for tens of milliseconds.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.child.id());
        eventually("all threads have stopped", || {
            let mut threads = fs::read_dir(&tasks).expect("it is our child");
            threads.all(|thread| thread.is_ok_and(|thread| is_stopped(&thread.path().join("stat")))).then_some(())
        });
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(mut self) -> Exit {
        let status = eventually("the process ends", || self.child.try_wait().expect("it is our child"));
        // Everything it wrote has been read once the pipe is closed.
        self.reader.take().expect("nobody else waits").join().expect("reading does not panic");
        Exit { status, stdout: self.stdout(), stderr: self.stderr() }
    }

    /// The lines it has written to standard output.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it, and those before it in the same folder, wrote to standard error.
    pub(crate) fn stderr(&self) -> String {
        // Also called while a test fails, so it must not panic itself.
        let read = std::fs::read(&self.log);
        read.map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The memory it has in use.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory it has had in use at a time.
    pub(crate) fn memory_bytes_peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, which: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(which)).expect("the system tells");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes * 1024
    }

    /// Processor time it has used so far.
    pub(crate) fn cpu_time(&self) -> std::time::Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        // After the name in parentheses; ticks are hundredths of a second on every Linux.
        let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
        std::time::Duration::from_millis(ticks * 10)
    }

    /// For how long the thread of this name has wanted a processor so far while others had them.
    pub(crate) fn delayed(&self, thread: &str) -> std::time::Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let read = |folder: &Path, name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let mut folders = threads.map(|thread| thread.expect("it runs").path());
        let folder = folders.find(|folder| read(folder, "comm").trim_end() == thread).expect("there is such a thread");
        let nanoseconds = read(&folder, "schedstat").split(' ').nth(1).and_then(|field| field.parse().ok());
        std::time::Duration::from_nanos(nanoseconds.expect("the kernel counts it"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the host's standard error\n{}---", self.stderr());
        }
    }
}

/// Whether the process or thread of this file `stat` is stopped.
pub(crate) fn is_stopped(stat: &Path) -> bool {
    // The state stands behind the name, which may hold anything.
    let stat = fs::read_to_string(stat).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

fn read(stdout: ChildStdout, lines: &Mutex<Vec<String>>) {
    // The pipe ends with the process, whichever way it ends.
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}
