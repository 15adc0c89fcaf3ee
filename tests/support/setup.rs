//! The folder a host runs in, and the settings it gets.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::process::{self, Exit, Process};
use super::receiver::{Receiver, SECRET};
use super::{Host, shipped};

/// A folder with data, plugins and settings, before a host runs in it.
pub(crate) struct Setup {
    folder: TempDir,
    environment: Vec<(String, String)>,
    open_files_max: Option<u32>,
    /// What is mounted for the host alone.
    mounts: Option<String>,
}

impl Setup {
    /// An empty folder.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join("plugins")).expect("it can be written");
        Self { folder, environment: Vec::new(), open_files_max: None, mounts: None }
    }

    /// Puts a shipped plugin into the plugin folder.
    pub(crate) fn with_plugin(self, name: &str) -> Self {
        // The shipped file, or one that was built from its source a moment ago.
        let bytes = match std::env::var_os("PLUGINS_UNDER_TEST") {
            Some(folder) => std::fs::read(Path::new(&folder).join(format!("{name}.wasm"))).expect("it was just built"),
            None => shipped(&format!("plugins/{name}.wasm")),
        };
        self.with_guest(name, bytes)
    }

    /// Puts a file `NAME.wasm` into the plugin folder.
    pub(crate) fn with_guest(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.with_file(&format!("{name}.wasm"), bytes)
    }

    /// Puts any file into the plugin folder.
    pub(crate) fn with_file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.plugins().join(name);
        std::fs::write(&path, bytes).expect("the plugin folder can be written");
        // As if it had been there for a while, so that the host need not wait for it to come to rest.
        let file = std::fs::File::options().write(true).open(path).expect("the file was just written");
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        file.set_modified(long_ago).expect("a file's time can be set");
        self
    }

    /// Sets `DROPFORGE_<NAME>`.
    pub(crate) fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((format!("DROPFORGE_{}", name.to_uppercase()), value.to_string()));
        self
    }

    /// Sets any variable of the host.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the host tell these how jobs ended, and gives it the secret to do so. It waits for a moment only before it tries again.
    pub(crate) fn telling(self, receivers: &[&Receiver]) -> Self {
        let allowed = receivers.iter().map(|receiver| {
            let port = receiver.port();
            format!("{{scheme=\"http\",host=\"127.0.0.1\",port={port}}}")
        });
        let allowed = allowed.collect::<Vec<_>>().join(",");
        self.set("webhooks", format!("[{allowed}]"))
            .with_secret()
            .set("webhook_pause", "10ms")
            .set("webhook_pause_max", "50ms")
    }

    /// Gives the host a secret to sign webhooks with.
    pub(crate) fn with_secret(self) -> Self {
        self.with_variable("WEBHOOK_SECRET", SECRET).set("webhook_secrets", "[{variable=\"WEBHOOK_SECRET\"}]")
    }

    /// Lets the host have so many files open at a time, and no more.
    pub(crate) fn with_open_files_max(mut self, count: u32) -> Self {
        self.open_files_max = Some(count);
        self
    }

    /// Runs this script before the host, in its folder; what it mounts nobody else sees. See [`process::can_mount_apart`].
    pub(crate) fn with_mounts(mut self, script: &str) -> Self {
        self.mounts = Some(script.to_owned());
        self
    }

    /// Has the host, and nobody else on this machine, ask this server for names, for longer than any test has patience.
    pub(crate) fn with_name_server(self, address: IpAddr) -> Self {
        let text = format!("nameserver {address}\noptions timeout:30 attempts:5\n");
        std::fs::write(self.folder().join("resolv.conf"), text).expect("the folder can be written");
        std::fs::write(self.folder().join("nsswitch.conf"), "hosts: files dns\n").expect("the folder can be written");
        self.with_mounts(
            "mount --bind resolv.conf /etc/resolv.conf \
             && { ! test -e /etc/nsswitch.conf || mount --bind nsswitch.conf /etc/nsswitch.conf; }",
        )
    }

    /// The folder of all of it, which is the working folder of the host.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the plugins are.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.folder().join("plugins")
    }

    /// Where the jobs are kept.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Starts a host and waits until it is ready.
    pub(crate) fn start(self) -> Host {
        let mut host = Host { process: None, setup: self, usual: OnceLock::new() };
        host.start_again();
        host
    }

    /// Starts a host in the same folders while another one may run there, and waits until it has ended by itself.
    pub(crate) fn start_in_vain(&self) -> Exit {
        self.process().wait()
    }

    /// Runs `dropforge` with these arguments to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Exit {
        let mut command = process::dropforge(self.open_files_max);
        command.args(arguments);
        Process::start(command, self.folder()).wait()
    }

    /// Runs `dropforge verify` on the data folder, which no host uses.
    pub(crate) fn verify(&self) -> Exit {
        let mut command = process::dropforge(self.open_files_max);
        command.arg("verify").arg(self.data());
        Process::start(command, self.folder()).wait()
    }

    /// Moves the data folder, which no host uses, through `dropforge export` and `dropforge import`.
    pub(crate) fn move_data(&self) {
        let (file, before) = (self.folder().join("export.ndjson"), self.folder().join("before"));
        std::fs::rename(self.data(), &before).expect("a folder can be renamed");
        for [verb, from, to] in [
            ["export".as_ref(), before.as_os_str(), file.as_os_str()],
            ["import".as_ref(), file.as_os_str(), self.data().as_os_str()],
        ] {
            let mut command = process::dropforge(self.open_files_max);
            command.args([verb, from, to]);
            let exit = Process::start(command, self.folder()).wait();
            assert!(exit.status.success(), "{exit:?}");
        }
    }

    /// Runs `dropforge token` on the data folder, whether or not a host uses it.
    pub(crate) fn token_command(&self, arguments: &[&str]) -> Exit {
        let mut command = process::dropforge(self.open_files_max);
        command.arg("token").args(arguments).arg("--data").arg(self.data());
        // A folder of its own for what it says, apart from the host's log.
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Process::start(command, folder.path()).wait()
    }

    /// Makes a token with these flags and answers its text.
    pub(crate) fn new_token(&self, flags: &[&str]) -> String {
        let exit = self.token_command(&[&["new"], flags].concat());
        assert!(exit.status.success(), "{exit:?}");
        exit.stdout.into_iter().next().expect("it prints the token")
    }

    /// Runs `dropforge check` on a file of the plugin folder.
    pub(crate) fn check(&self, file: &str, flags: &[&str]) -> Exit {
        let mut command = process::dropforge(self.open_files_max);
        command.arg("check").arg(self.plugins().join(file)).args(flags);
        command.env("XDG_CACHE_HOME", self.folder().join("caches"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Process::start(command, self.folder()).wait()
    }

    /// Starts a host in these folders.
    pub(super) fn process(&self) -> Process {
        let (data, plugins) = (self.data(), self.plugins());
        let flags = ["--listen", "127.0.0.1:0", "--data"].map(OsStr::new);
        self.serve(flags.into_iter().chain([data.as_os_str(), OsStr::new("--plugins"), plugins.as_os_str()]))
    }

    /// Runs `dropforge serve` with exactly these flags.
    pub(crate) fn serve(&self, flags: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Process {
        let mut command = process::dropforge(self.open_files_max);
        command.arg("serve").args(flags);
        if let Some(script) = &self.mounts {
            command = process::mounting(&command, script);
        }
        command.current_dir(self.folder());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Process::start(command, self.folder())
    }
}
