//! A disk that stops answering, as those of servers do that are gone.

use std::process::Command;

use super::Setup;

/// What the disk of `disk.pl` is mounted by. It ends with the host.
const MOUNT: &str = "mkdir -p granted; perl disk.pl granted >/dev/null 2>disk.log &
    until grep -q \"$PWD/granted fuse\" /proc/mounts; do kill -0 $! && sleep 0.05 || exit 1; done";
/// Has the host find its plugin folder over that disk.
const LEAD_OVER_DISK: &str = r#"for word; do shift; test "$word" != "$PWD/plugins" || word=granted/inner/back/plugins
    set -- "$@" "$word"; done"#;
/// Grants the folder on that disk.
pub(crate) const GRANT: &str = "[[folders]]\nguest = \"/g\"\nhost = \"../granted/inner\"";

/// Whether there can be such a disk here; says so if not.
pub(crate) fn can_be_mounted() -> bool {
    let perl = Command::new("perl").arg("-e1").status().is_ok_and(|status| status.success());
    let can = perl && std::path::Path::new("/dev/fuse").exists() && super::process::can_mount_apart();
    if !can {
        eprintln!("skipped: a disk that hangs needs root, FUSE and perl");
    }
    can
}

impl Setup {
    /// Mounts a disk for the host that may be granted by [`GRANT`]; its files are those that `disk.pl` names.
    pub(crate) fn with_disk(self) -> Self {
        std::fs::write(self.folder().join("disk.pl"), include_str!("disk.pl")).expect("the folder can be written");
        self.with_mounts(MOUNT)
    }

    /// The same, and the host finds its plugin folder, which others find as ever, only while the disk answers.
    pub(crate) fn with_disk_before_plugins(self) -> Self {
        self.with_disk().with_mounts(&format!("{MOUNT}\n{LEAD_OVER_DISK}"))
    }

    /// Has the disk answer nothing any more.
    pub(crate) fn silence_disk(&self) {
        std::fs::write(self.folder().join("silent"), "").expect("the folder can be written");
    }

    /// Has it take its time, though never as long as a file may take.
    pub(crate) fn slow_disk(&self) {
        std::fs::write(self.folder().join("slow"), "").expect("the folder can be written");
    }

    /// Has it answer again, also what it was asked meanwhile.
    pub(crate) fn wake_disk(&self) {
        std::fs::remove_file(self.folder().join("silent")).expect("the folder can be written");
    }
}
