//! Looks at the plugin folder again and again, and takes a file through its checks once it has come to rest.
//!
//! Looking is a few system calls per file. Notifications of the kernel would not spare it: they do not come from
//! network folders and container mounts, and a file has to be looked at twice anyway to know that it is complete.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::kept::{Kept, Version};
use super::schema::Schema;
use super::{FileReport, FileState, KindSettings, Plugin, Plugins, Settings, Table, settings};
use crate::job::Kind;
use crate::priority;
use crate::sandbox::{Description, Limits, NewUpload, Sandbox};
use crate::store::Blobs;

/// Time between two looks. A file is complete when two looks find it the same.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// At the first look, a file untouched for so long counts as complete.
const RESTED: Duration = Duration::from_secs(2);
/// How long the first scan waits for files that are still being written.
const FIRST_SCAN_MAX: Duration = Duration::from_secs(5);

/// What a file is recognised by without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    inode: u64,
    modified_ns: (i64, i64),
    changed_ns: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            inode: metadata.ino(),
            modified_ns: (metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A kind's two files: `NAME.wasm`, and `NAME.toml` if there is one. A version is both of them together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamps {
    wasm: Stamp,
    toml: Option<Stamp>,
}

/// Both files as they are found.
struct Found {
    wasm: Metadata,
    toml: Option<Metadata>,
}

impl Found {
    fn stamps(&self) -> Stamps {
        Stamps { wasm: Stamp::of(&self.wasm), toml: self.toml.as_ref().map(Stamp::of) }
    }

    fn have_rested(&self) -> bool {
        has_rested(&self.wasm) && self.toml.as_ref().is_none_or(has_rested)
    }
}

struct Seen {
    stamps: Stamps,
    checked: bool,
}

/// The thread behind [`Plugins`].
pub(super) struct Watcher {
    settings: Settings,
    sandbox: Arc<Sandbox>,
    blobs: Blobs,
    plugins: Weak<Plugins>,
    runtime: Runtime,
    kept: Kept,
    seen: BTreeMap<String, Seen>,
    started: Instant,
    unreadable: Option<String>,
}

impl Watcher {
    pub(super) fn new(
        settings: Settings,
        sandbox: Arc<Sandbox>,
        blobs: Blobs,
        plugins: Weak<Plugins>,
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let kept = Kept::open(settings.kept.clone())?;
        let (seen, started) = (BTreeMap::new(), Instant::now());
        Ok(Self { settings, sandbox, blobs, plugins, runtime, kept, seen, started, unreadable: None })
    }

    /// Looks and checks until told to stop.
    pub(super) fn run(mut self, mut stop: watch::Receiver<bool>) {
        priority::lower();
        while let Some(plugins) = self.plugins.upgrade() {
            match self.look() {
                Ok(files) => self.compare(&plugins, &files, &stop),
                Err(error) => self.complain(&error),
            }
            drop(plugins);
            let stopped = async { tokio::time::timeout(LOOK_EVERY, stop.wait_for(|stop| *stop)).await.is_ok() };
            if self.runtime.block_on(stopped) {
                return;
            }
        }
    }

    /// Every `*.wasm` of the folder that is not hidden, with the settings beside it.
    fn look(&self) -> io::Result<BTreeMap<String, Found>> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&self.settings.folder)? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if !name.ends_with(".wasm") || name.starts_with('.') {
                continue;
            }
            // Follows links, but also looks at one that leads nowhere: it is listed. A file that has just been removed is
            // simply not there.
            let look_at = |path: &Path| fs::metadata(path).or_else(|_| fs::symlink_metadata(path)).ok();
            if let Some(wasm) = look_at(&path) {
                let toml = look_at(&path.with_extension("toml"));
                files.insert(name, Found { wasm, toml });
            }
        }
        Ok(files)
    }

    /// Holds what is there against what was there before.
    fn compare(&mut self, plugins: &Plugins, files: &BTreeMap<String, Found>, stop: &watch::Receiver<bool>) {
        self.unreadable = None;
        let gone: Vec<String> = self.seen.keys().filter(|name| !files.contains_key(*name)).cloned().collect();
        for name in gone {
            self.seen.remove(&name);
            self.kept.forget(&name);
            plugins.change(|table| retire(table, &name));
        }
        let mut unsettled = false;
        for (name, found) in files {
            if *stop.borrow() {
                return;
            }
            let stamps = found.stamps();
            let first_scan = !plugins.is_scanned();
            let settled = match self.seen.get(name) {
                Some(seen) if seen.stamps == stamps && seen.checked => continue,
                Some(seen) => seen.stamps == stamps,
                None => first_scan && found.have_rested(),
            };
            self.seen.insert(name.clone(), Seen { stamps, checked: settled });
            if settled {
                self.check(plugins, name, found);
            } else {
                unsettled = true;
            }
        }
        if !plugins.is_scanned() && (!unsettled || self.started.elapsed() > FIRST_SCAN_MAX) {
            self.kept.forget_others(|name| files.contains_key(name));
            plugins.change(|table| table.scanned = true);
        }
    }

    /// Takes a complete file through its checks, and swaps it in or says why not.
    fn check(&mut self, plugins: &Plugins, name: &str, found: &Found) {
        let kind = name.strip_suffix(".wasm").and_then(Kind::new);
        let mut report = FileReport {
            file: name.to_owned(),
            kind: kind.clone(),
            state: FileState::Compiling,
            reason: None,
            digest: None,
        };
        plugins.change(|table| drop(table.files.insert(name.to_owned(), report.clone())));
        let started = Instant::now();
        let checked = kind
            .ok_or_else(|| {
                "the name is not allowed: before .wasm it has 1 to 63 of a-z, 0-9 and -, and does not begin with -; \
                 rename the file"
                    .to_owned()
            })
            .and_then(|kind| {
                let wasm = self.read(name, &found.wasm, self.settings.file_bytes_max)?;
                report.digest = Some(hex::encode(Sha256::digest(&wasm)));
                let version = Version { wasm, toml: self.read_toml(&kind, found)? };
                let plugin = self.prepare(kind, &version)?;
                if let Err(error) = self.kept.keep(name, &version) {
                    tracing::warn!(plugin.file = name, %error, "a good version could not be kept for a bad day");
                }
                Ok(plugin)
            });
        match checked {
            Ok(plugin) => {
                report.state = FileState::Serving;
                let milliseconds = started.elapsed().as_millis();
                tracing::info!(
                    plugin.file = name,
                    plugin.digest = plugin.digest,
                    duration_ms = milliseconds,
                    "plugin serves"
                );
                plugins.change(|table| {
                    table.serving.insert(plugin.kind.clone(), Arc::new(plugin));
                    table.files.insert(name.to_owned(), report);
                });
            }
            Err(reason) => {
                report.state = FileState::Rejected;
                tracing::warn!(plugin.file = name, reason, "plugin file rejected");
                report.reason = Some(reason);
                let kept = report.kind.clone().filter(|kind| plugins.serving(kind).is_none());
                let kept = kept.and_then(|kind| self.fall_back(name, kind));
                plugins.change(|table| {
                    table.serving.extend(kept.map(|plugin| (plugin.kind.clone(), Arc::new(plugin))));
                    table.files.insert(name.to_owned(), report);
                });
            }
        }
    }

    /// The settings beside a file, or none.
    fn read_toml(&mut self, kind: &Kind, found: &Found) -> Result<String, String> {
        let Some(metadata) = &found.toml else { return Ok(String::new()) };
        let name = format!("{kind}.toml");
        let bytes = self.read(&name, metadata, settings::FILE_BYTES_MAX).map_err(|error| format!("{name}: {error}"))?;
        String::from_utf8(bytes).map_err(|_| format!("{name}: the file is not UTF-8 text"))
    }

    fn read(&mut self, name: &str, before: &Metadata, most: u64) -> Result<Vec<u8>, String> {
        let unreadable = |error: io::Error| format!("the file cannot be read: {error}");
        if !before.is_file() {
            return Err("this is not a regular file".to_owned());
        }
        if before.len() > most {
            return Err(format!("the file has {} bytes; {most} is the most", before.len()));
        }
        let path = self.settings.folder.join(name);
        let mut file = File::open(&path).map_err(unreadable)?;
        let mut bytes = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
        // One byte more than allowed is enough to notice a file that has grown meanwhile.
        let _ = file.by_ref().take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if !is_unchanged(&path, before) {
            // The next looks will find the newer content; this one must not be blamed on it.
            if let Some(seen) =
                self.seen.get_mut(&Path::new(name).with_extension("wasm").to_string_lossy().into_owned())
            {
                seen.checked = false;
            }
            return Err("the file changed while it was read; it will be read again".to_owned());
        }
        Ok(bytes)
    }

    /// The version that served before this host was started.
    fn fall_back(&self, name: &str, kind: Kind) -> Option<Plugin> {
        let version = self.kept.get(name).ok()?;
        match self.prepare(kind, &version) {
            Ok(plugin) => {
                tracing::warn!(
                    plugin.file = name,
                    plugin.digest = plugin.digest,
                    "the last good version serves instead"
                );
                Some(plugin)
            }
            Err(reason) => {
                tracing::error!(plugin.file = name, reason, "the last good version cannot be used either");
                None
            }
        }
    }

    /// A bug in the compiler, or anywhere on the way, costs this file only.
    fn prepare(&self, kind: Kind, version: &Version) -> Result<Plugin, String> {
        panic::catch_unwind(AssertUnwindSafe(|| self.compile(kind, version)))
            .unwrap_or_else(|_| Err("the host panicked while it checked this file".to_owned()))
    }

    fn compile(&self, kind: Kind, version: &Version) -> Result<Plugin, String> {
        let wrong = |error| format!("{kind}.toml: {error}");
        let settings = KindSettings::parse(&version.toml, &self.settings.limits_max).map_err(wrong)?;
        let grants = settings.grants(&kind, &self.settings.folder).map_err(wrong)?;
        let program = self.sandbox.load(&version.wasm).map_err(|error| error.0)?;
        let blobs = self.blobs.clone();
        let new_upload: NewUpload = Box::new(move || blobs.upload());
        let described = self.runtime.block_on(self.sandbox.describe(&program, new_upload));
        let description = described.map_err(|error| error.0)?;
        let schema = |text: &Option<String>, whose: &str| {
            text.as_deref()
                .map(Schema::parse)
                .transpose()
                .map_err(|error| format!("its {whose} schema is wrong: {error}"))
        };
        Ok(Plugin {
            input_schema: schema(&description.input_schema, "input")?,
            parameter_schema: schema(&description.parameter_schema, "parameter")?,
            output_schema: schema(&description.output_schema, "output")?.map(|schema| schema.source),
            limits: self.limits(&settings, &description),
            fuel_per_ms: settings.fuel_per_ms.unwrap_or(self.settings.fuel_per_ms),
            timeout_max: settings.timeout_max.map_or(self.settings.limits_max.timeout, |span| span.0),
            kind,
            digest: hex::encode(Sha256::digest(&version.wasm)),
            settings,
            grants: Arc::new(grants),
            program,
            description,
        })
    }

    /// What the operator says, else what the plugin wishes, else the default; all within what the host allows.
    fn limits(&self, set: &KindSettings, wished: &Description) -> Limits {
        let (default, most) = (self.settings.limits, self.settings.limits_max);
        let timeout = set.timeout.map(|span| span.0).or(wished.timeout).unwrap_or(default.timeout);
        let memory_bytes = set.memory_bytes.or(wished.memory_bytes).unwrap_or(default.memory_bytes);
        let output_bytes = set.output_bytes.or(wished.output_bytes).unwrap_or(default.output_bytes);
        Limits {
            timeout: timeout.min(set.timeout_max.map_or(most.timeout, |span| span.0)),
            fuel: default.fuel,
            memory_bytes: memory_bytes.min(most.memory_bytes),
            output_bytes: output_bytes.min(most.output_bytes),
        }
    }

    /// Says once that the folder cannot be read. What serves goes on serving: the folder may come back.
    fn complain(&mut self, error: &io::Error) {
        let error = error.to_string();
        if self.unreadable.as_ref() != Some(&error) {
            let folder = self.settings.folder.display();
            tracing::error!(%folder, error, "the plugin folder cannot be read; what serves goes on serving");
            self.unreadable = Some(error);
        }
    }
}

fn retire(table: &mut Table, name: &str) {
    if let Some(kind) = table.files.remove(name).and_then(|report| report.kind) {
        table.serving.remove(&kind);
        tracing::info!(plugin.file = name, "plugin removed");
    }
}

fn has_rested(metadata: &Metadata) -> bool {
    // A clock that runs backwards makes the file wait for a second look, nothing more.
    let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age >= RESTED)
}

fn is_unchanged(path: &Path, before: &Metadata) -> bool {
    fs::metadata(path).is_ok_and(|now| Stamp::of(&now) == Stamp::of(before))
}
