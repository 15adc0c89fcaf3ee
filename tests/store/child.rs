//! Processes that die: this very test binary, started again to play a part.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{PoisonError, RwLock};

use crate::{crash, kill};

const PART: &str = "STORE_SUITE_PART";
const PLACE: &str = "STORE_SUITE_PLACE";
const WORDS: &str = "STORE_SUITE_WORDS";

/// Held to write while a process starts, see [`undisturbed`].
static STARTING: RwLock<()> = RwLock::new(());

/// Starts a process that plays this part on this place. What it says comes on its standard output, among other things.
pub(crate) fn start(part: &str, place: &Path, words: impl AsRef<OsStr>) -> Child {
    let mut command = Command::new(env::current_exe().expect("this binary has a path"));
    command.args(["--exact", "child::plays_its_part_in_a_process_of_its_own", "--ignored", "--nocapture"]);
    command.env(PART, part).env(PLACE, place).env(WORDS, words);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let _alone = STARTING.write().unwrap_or_else(PoisonError::into_inner);
    command.spawn().expect("the process starts")
}

/// Closes something, not in the instant in which another test starts a process: until that is a program of its own, it
/// shares the files and file locks of this one, and a place closed here would still be in use there.
pub(crate) fn undisturbed<T>(close: impl FnOnce() -> T) -> T {
    let _nobody_starts = STARTING.read().unwrap_or_else(PoisonError::into_inner);
    close()
}

#[tokio::test]
#[ignore = "no test of its own; others start it in a process that is to die"]
async fn plays_its_part_in_a_process_of_its_own() {
    let (Ok(part), Some(place)) = (env::var(PART), env::var_os(PLACE)) else { return };
    let (place, words) = (Path::new(&place), env::var(WORDS).unwrap_or_default());
    match part.as_str() {
        "crash" => crash::host_that_crashes(place, &words).await,
        "work" => kill::host_that_works(place, &words).await,
        unknown => panic!("there is no part {unknown}"),
    }
}
