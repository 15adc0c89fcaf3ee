//! Disks of the campaign's own, mounted in its temporary folders. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted disk. Dropped, it is unmounted.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// A small disk in memory.
    pub(crate) fn memory(at: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(at).expect("a folder can be made");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(at));
        Self(at.to_owned())
    }

    /// The disk in an image file.
    pub(crate) fn image(image: &Path, at: &Path) -> Self {
        std::fs::create_dir_all(at).expect("a folder can be made");
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at));
        Self(at.to_owned())
    }

    /// Mounts it again in another way, such as `ro`.
    pub(crate) fn remount(&self, how: &str) {
        run(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0));
    }
}

/// A disk on which nothing can be written, and whoever tries waits. Dropped, it goes on.
pub(crate) struct Frozen(PathBuf);

impl Mount {
    /// Freezes it, if its sort can be.
    pub(crate) fn freeze(&self) -> Frozen {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.0));
        Frozen(self.0.clone())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Also while a test fails: whoever waits could not even be killed.
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).status();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, so that a process that is just dying does not keep it; nothing better can be done about a failure here.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// An image file with an empty ext4 in it.
pub(crate) fn make_image(path: &Path, bytes: u64) {
    let file = std::fs::File::create(path).expect("a file can be made");
    file.set_len(bytes).expect("a sparse file can be made");
    run(Command::new("mkfs.ext4").arg("-q").arg(path));
}

/// Whether disks can be mounted here; says so if not.
pub(crate) fn can_mount(what: &str) -> bool {
    let wanted = super::setting("CAMPAIGN_MOUNTS", 0) != 0;
    let root = rustix::process::geteuid().is_root();
    let tools = ["mount", "mkfs.ext4"].iter().all(|tool| Command::new(tool).arg("-V").output().is_ok());
    let can = wanted && root && tools;
    if !can {
        eprintln!("skipped: {what} needs CAMPAIGN_MOUNTS=1, root, mount and mkfs.ext4");
    }
    can
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
