//! The `dropforge` command as a user types it.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Host, eventually, process};

/// How a command ended and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
}

impl Said {
    /// Standard output, which has to be text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.output.clone()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output, which has to be one JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.output).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless the command ended with this code.
    #[track_caller]
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{} {}", self.errors, String::from_utf8_lossy(&self.output));
        self
    }
}

impl Host {
    /// Types a command about this host, with nothing to read.
    pub(crate) fn says(&self, words: &[&str]) -> Said {
        self.says_reading(words, b"")
    }

    /// Types a command that reads this from its standard input. Its folder is the one of the host.
    pub(crate) fn says_reading(&self, words: &[&str], input: &[u8]) -> Said {
        say(words, self.process().address(), input, self.setup().folder())
    }

    /// Types a command about this host that takes its time.
    pub(crate) fn types(&self, words: &[&str]) -> Typed {
        Typed::start(&[], words, self.process().address(), Stdio::null(), self.setup().folder())
    }
}

/// Types a command about the host at this address.
pub(crate) fn say(words: &[&str], url: &str, input: &[u8], folder: &Path) -> Said {
    say_with(&[], words, url, input, folder)
}

/// The same with these variables.
pub(crate) fn say_with(variables: &[(&str, &Path)], words: &[&str], url: &str, input: &[u8], folder: &Path) -> Said {
    let mut stdin = tempfile::tempfile_in(folder).expect("the folder can be written");
    stdin.write_all(input).and_then(|()| stdin.rewind()).expect("a file can be written");
    Typed::start(variables, words, url, stdin, folder).ended()
}

/// A command that was typed and has not ended yet. Dropped, it is killed.
pub(crate) struct Typed {
    child: Child,
    stdout: File,
    stderr: File,
}

impl Typed {
    /// Types a command that reads this, about the host at this address.
    pub(crate) fn start(
        variables: &[(&str, &Path)],
        words: &[&str],
        url: &str,
        stdin: impl Into<Stdio>,
        folder: &Path,
    ) -> Self {
        let new_file = || tempfile::tempfile_in(folder).expect("the folder can be written");
        let (stdout, stderr) = (new_file(), new_file());
        let share = |file: &File| file.try_clone().expect("a file can be shared");
        let mut command = process::dropforge(None);
        // Never the cache of whoever runs the tests.
        command.args(words).env("XDG_CACHE_HOME", folder.join("caches"));
        command.env("DROPFORGE_URL", url).envs(variables.iter().copied()).current_dir(folder);
        command.stdin(stdin).stdout(share(&stdout)).stderr(share(&stderr));
        let child = command.spawn().expect("the binary was built and starts");
        Self { child, stdout, stderr }
    }

    /// What it has written to standard output so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&read(&self.stdout)).into_owned()
    }

    /// What it has written to standard error so far.
    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&read(&self.stderr)).into_owned()
    }

    /// Waits until it has written this to standard error.
    pub(crate) fn says_in_passing(&self, text: &str) {
        eventually(&format!("it says {text:?}: {}", self.errors()), || self.errors().contains(text).then_some(()));
    }

    /// Presses Ctrl-C.
    pub(crate) fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it is our child");
    }

    /// Waits until it ends, not by being killed.
    pub(crate) fn ended(mut self) -> Said {
        let status = eventually("the command ends", || self.child.try_wait().expect("it is our child"));
        let code = status.code().unwrap_or_else(|| panic!("{status}: {}", self.errors()));
        Said { code, output: read(&self.stdout), errors: self.errors() }
    }
}

impl Drop for Typed {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that is in a file that another process may be writing to, whose place in it must stay.
fn read(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().expect("it is there").len()).expect("it fits")];
    file.read_exact_at(&mut bytes, 0).expect("a file can be read");
    bytes
}
