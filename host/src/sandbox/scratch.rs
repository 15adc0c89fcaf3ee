//! The folders `/in` and `/out` of a program: filled before it starts, and emptied when it has ended.
//!
//! Every file left in `/out` becomes an artifact if the attempt succeeds. Its name is its path with `-` in place of each slash, and has
//! to be one that any artifact may have.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use super::bounded::{OnTurn, Stopped, blocking};
use super::command::TextCheck;
use super::contract::check_artifact_name;
use super::meter::Meter;
use super::streams::Draft;
use crate::job::shorten;
use crate::running::Running;
use crate::store::{Blobs, Content, Leftover, Scratch};

/// Longer names than these are no artifact's.
const NAME_BYTES_MAX: usize = 255;
/// What browsers and others can show, by the end of the name.
const MEDIA_TYPES: [(&str, &str); 16] = [
    ("csv", "text/csv; charset=utf-8"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("json", "application/json"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("wav", "audio/wav"),
    ("webp", "image/webp"),
    ("zip", "application/zip"),
];

/// The folders a program asks for.
pub struct ScratchWish {
    /// Where they are made.
    pub blobs: Blobs,
    /// What lies in `/in`, by name. Names are the host's own.
    pub files: Vec<(String, Content)>,
    /// The most that may lie in `/in`.
    pub in_bytes_max: u64,
    /// The most that may lie in `/out` at any time.
    pub bytes_max: u64,
}

/// The folders of an attempt and the quota of the second one.
pub(super) type Folders = Option<(Arc<Scratch>, u64)>;

/// Makes and fills the folders that are wished for.
pub(super) async fn prepare(
    wish: Option<ScratchWish>,
    running: &Arc<Running>,
    on_turn: &OnTurn,
) -> Result<Folders, NotPrepared> {
    let Some(ScratchWish { blobs, files, in_bytes_max, bytes_max }) = wish else { return Ok(None) };
    let bytes = files.iter().fold(0, |bytes: u64, (_, content)| bytes.saturating_add(content.size()));
    if bytes > in_bytes_max {
        return Err(NotPrepared::TooLarge { bytes, bytes_max: in_bytes_max });
    }
    let goes_on = Arc::clone(running);
    let fill = move || {
        let scratch = blobs.scratch()?;
        for (name, content) in &files {
            scratch.place(name, content, || goes_on.go_on())?;
        }
        Ok(scratch)
    };
    match blocking(running, on_turn, fill).await {
        Ok(Ok(scratch)) => Ok(Some((Arc::new(scratch), bytes_max))),
        Ok(Err(error)) => Err(NotPrepared::Disk(error)),
        Err(stopped) => Err(NotPrepared::Stopped(stopped)),
    }
}

/// Why an attempt does not get its folders.
#[derive(Debug)]
pub(super) enum NotPrepared {
    /// More would lie in `/in` than may.
    TooLarge { bytes: u64, bytes_max: u64 },
    /// The host's disk failed.
    Disk(io::Error),
    /// It was over before they were filled.
    Stopped(Stopped),
}

/// Takes what the guest has left, if it has succeeded, and removes the folders.
pub(super) async fn empty(
    folders: Folders,
    has_succeeded: bool,
    meter: &Arc<Meter>,
    running: &Arc<Running>,
    on_turn: &OnTurn,
) -> Result<Vec<Draft>, NotKept> {
    // The guest is gone, and with it every other handle.
    let Some(scratch) = folders.and_then(|(scratch, _)| Arc::into_inner(scratch)) else { return Ok(Vec::new()) };
    let (meter, goes_on) = (Arc::clone(meter), Arc::clone(running));
    let work = move || Ok(if has_succeeded { collect(scratch, &meter, &goes_on) } else { Ok(Vec::new()) });
    match blocking(running, on_turn, work).await {
        Ok(collected) => collected.unwrap_or_else(|error| Err(NotKept::Disk(error))),
        Err(stopped) => Err(NotKept::Stopped(stopped)),
    }
}

/// Why what was left cannot be kept.
#[derive(Debug)]
pub(super) enum NotKept {
    /// A file could be no artifact, in a sentence.
    Name(String),
    /// Result and artifacts together are too large.
    TooLarge,
    /// The host's disk failed.
    Disk(io::Error),
    /// The attempt was over before all of it was taken.
    Stopped(Stopped),
}

/// Takes everything out of `/out`, by name, and removes the folders. Blocks on the disk.
fn collect(scratch: Scratch, meter: &Meter, running: &Running) -> Result<Vec<Draft>, NotKept> {
    let leftovers = scratch.leftovers(NAME_BYTES_MAX).map_err(NotKept::Disk)?;
    let names = names(&leftovers).map_err(NotKept::Name)?;
    let take = |(name, leftover): (String, &Leftover)| {
        let mut text = TextCheck::default();
        let look = |bytes: &[u8]| {
            text.add(bytes);
            running.go_on()
        };
        let upload = scratch.take(leftover, meter.may_hold(), look).map_err(NotKept::Disk)?;
        meter.note_held(0, upload.memory_bytes());
        if !meter.add_output(upload.size()) {
            return Err(NotKept::TooLarge);
        }
        let media_type = media_type_of(&name).unwrap_or_else(|| text.media_type()).to_owned();
        Ok(Draft { name, media_type, upload })
    };
    let mut drafts = names.into_iter().zip(&leftovers).map(take).collect::<Result<Vec<_>, _>>()?;
    drafts.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(drafts)
}

fn names(leftovers: &[Leftover]) -> Result<Vec<String>, String> {
    let mut seen = HashSet::new();
    let name = |leftover: &Leftover| {
        let path = &leftover.path;
        let shown = shorten(path.clone(), 100);
        // Each part, so that no hidden file comes to light by the name of its folder.
        for part in path.split('/').chain([path.replace('/', "-").as_str()]) {
            if let Err(reason) = check_artifact_name(part) {
                return Err(format!("the program left {shown:?} in /out, which cannot be an artifact: {reason}"));
            }
        }
        let name = path.replace('/', "-");
        if seen.insert(name.clone()) {
            return Ok(name);
        }
        Err(format!(
            "the program left two files in /out that would both be the artifact {name:?}; one of them is {shown:?}"
        ))
    };
    leftovers.iter().map(name).collect()
}

fn media_type_of(name: &str) -> Option<&'static str> {
    let (_, end) = name.rsplit_once('.')?;
    let end = end.to_ascii_lowercase();
    MEDIA_TYPES.iter().find(|(known, _)| *known == end).map(|(_, media_type)| *media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_follow_the_end_of_the_name() {
        assert_eq!(media_type_of("a.b.PNG"), Some("image/png"));
        assert_eq!((media_type_of("png"), media_type_of("a.unknown"), media_type_of("a.")), (None, None, None));
    }
}
