//! The `dropforge` command as a user types it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

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
}

/// Types a command about the host at this address.
pub(crate) fn say(words: &[&str], url: &str, input: &[u8], folder: &Path) -> Said {
    say_with(&[], words, url, input, folder)
}

/// The same with these variables.
pub(crate) fn say_with(variables: &[(&str, &Path)], words: &[&str], url: &str, input: &[u8], folder: &Path) -> Said {
    let new_file = || tempfile::tempfile_in(folder).expect("the folder can be written");
    let (mut stdin, stdout, stderr) = (new_file(), new_file(), new_file());
    stdin.write_all(input).and_then(|()| stdin.rewind()).expect("a file can be written");
    let share = |file: &File| file.try_clone().expect("a file can be shared");
    let mut command = process::dropforge(None);
    command.args(words).env("DROPFORGE_URL", url).envs(variables.iter().copied()).current_dir(folder);
    command.stdin(stdin).stdout(share(&stdout)).stderr(share(&stderr));
    let mut child = command.spawn().expect("the binary was built and starts");
    let status = eventually("the command ends", || child.try_wait().expect("it is our child"));
    let errors = String::from_utf8_lossy(&read(stderr)).into_owned();
    let code = status.code().expect("it was not killed");
    Said { code, output: read(stdout), errors }
}

fn read(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a file can be read");
    bytes
}
