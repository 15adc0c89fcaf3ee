//! The folders `/in` and `/out` of a program: filled before it starts, and emptied when it has ended.
//!
//! Every file left in `/out` becomes an artifact if the attempt succeeds. Its name is its path with `-` in place of each slash, and has
//! to be one that any artifact may have.

use std::collections::HashSet;
use std::io;

use super::command::TextCheck;
use super::contract::check_artifact_name;
use super::meter::Meter;
use super::streams::Draft;
use crate::job::shorten;
use crate::store::{Blobs, Content, Leftover, Scratch};

/// Longer names than these are no artifact's.
const NAME_BYTES_MAX: usize = 255;
/// Small files that are held in memory, together; the others stay files.
const SMALL_BYTES_MAX: u64 = 1 << 20;
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
    /// The most that may lie in `/out` at any time.
    pub bytes_max: u64,
}

impl ScratchWish {
    /// Makes and fills the folders. Blocks on the disk.
    pub(super) fn prepare(&self) -> io::Result<Scratch> {
        let scratch = self.blobs.scratch()?;
        for (name, content) in &self.files {
            scratch.place(name, content)?;
        }
        Ok(scratch)
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
}

/// Takes everything out of `/out`, by name, and removes the folders. Blocks on the disk.
pub(super) fn collect(scratch: Scratch, meter: &Meter) -> Result<Vec<Draft>, NotKept> {
    let leftovers = scratch.leftovers(NAME_BYTES_MAX).map_err(NotKept::Disk)?;
    let names = names(&leftovers).map_err(NotKept::Name)?;
    let mut small_bytes_left = SMALL_BYTES_MAX;
    let take = |(name, leftover): (String, &Leftover)| {
        let mut text = TextCheck::default();
        let upload = scratch.take(leftover, small_bytes_left, |bytes| text.add(bytes)).map_err(NotKept::Disk)?;
        small_bytes_left = small_bytes_left.saturating_sub(upload.size());
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
