//! The files at which threads were left, what these have found in the end, and when another one is to look there.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{At, lock};
use crate::sandbox::LOOK_MAX;

/// A file that does not answer is looked at again after so long, then after twice as long, and so on.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(64);
/// While so many threads are left behind, files that do not answer are not looked at again. Others are, each by a thread that it costs at
/// most: nobody could tell else that they answer.
const THREADS_MAX: usize = 64;
/// What was found and is still not asked for has been overtaken by then.
const ANSWER_KEPT: Duration = Duration::from_secs(10);

/// What a look knows of a file beforehand.
pub(super) enum Known {
    /// What a thread that was left there has found.
    Answer(Arc<io::Result<Metadata>>),
    /// Somebody still looks at it, and has not done so for long.
    Later,
    /// Somebody has looked at it for long.
    Never,
}

#[derive(Default)]
pub(super) struct Left {
    files: HashMap<PathBuf, Silence>,
    /// Threads that have not returned, the first one first, and where they are.
    threads: Vec<(PathBuf, Arc<Mutex<At>>)>,
    /// Kept until a look comes to its end with them: one that is given up for another file has told nobody.
    answers: HashMap<PathBuf, Answer>,
}

/// Of a file that does not answer.
struct Silence {
    /// When the first of the threads that were left there came to it.
    since: Instant,
    again: Instant,
    pause: Duration,
}

struct Answer {
    found: Arc<io::Result<Metadata>>,
    came: Instant,
}

impl Left {
    /// What there is to know of files beforehand; of those that a look is to look at, nothing.
    pub(super) fn known(&mut self, now: Instant) -> HashMap<PathBuf, Known> {
        self.take_answers(now);
        let may_leave = self.threads.len() < THREADS_MAX;
        let silent = self.files.iter().filter(|(_, silence)| now < silence.again || !may_leave);
        let is_late = |silence: &Silence| now.duration_since(silence.since) >= LOOK_MAX;
        let turn = |silence: &Silence| if is_late(silence) { Known::Never } else { Known::Later };
        let silent = silent.map(|(path, silence)| (path.clone(), turn(silence)));
        let answer = |(path, answer): (&PathBuf, &Answer)| (path.clone(), Known::Answer(Arc::clone(&answer.found)));
        silent.chain(self.answers.iter().map(answer)).collect()
    }

    /// Takes note that a thread was left at a file.
    pub(super) fn add(&mut self, path: PathBuf, at: Arc<Mutex<At>>) {
        let (now, since) = (Instant::now(), lock(&at).since);
        let first = Silence { since, again: now + AGAIN_AFTER, pause: AGAIN_AFTER };
        let again = |silence: &mut Silence| {
            silence.pause = (silence.pause * 2).min(AGAIN_AFTER_MAX);
            silence.again = now + silence.pause;
        };
        self.files.entry(path.clone()).and_modify(again).or_insert(first);
        self.threads.push((path, at));
    }

    /// A look has had an answer of these files: what threads that are still there may find has been overtaken.
    pub(super) fn forget(&mut self, answered: &[PathBuf]) {
        for path in answered {
            self.files.remove(path);
            self.answers.remove(path);
        }
    }

    fn take_answers(&mut self, now: Instant) {
        self.answers.retain(|_, answer| now.duration_since(answer.came) < ANSWER_KEPT);
        let (files, answers) = (&self.files, &mut self.answers);
        self.threads.retain(|(path, at)| {
            let mut at = lock(at);
            let Some(found) = at.answer.take() else { return true };
            // Of several threads that have returned the last one knows best.
            if is_of(files.get(path), &at) {
                answers.insert(path.clone(), Answer { found: Arc::new(found), came: now });
            }
            false
        });
        self.files.retain(|path, _| !answers.contains_key(path));
    }
}

/// Whether a thread is one of those that a file is silent for, and not from before its last answer.
fn is_of(silence: Option<&Silence>, at: &At) -> bool {
    silence.is_some_and(|silence| at.since >= silence.since)
}

/// An error cannot be copied as it is; its kind and its words are what anybody looks at.
pub(super) fn copy_of(answer: &io::Result<Metadata>) -> io::Result<Metadata> {
    match answer {
        Ok(metadata) => Ok(metadata.clone()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn leave(left: &mut Left, path: &str) -> Arc<Mutex<At>> {
        let at = Arc::new(Mutex::new(At { file: Some(path.into()), is_left: true, ..At::folder() }));
        left.add(path.into(), Arc::clone(&at));
        at
    }

    fn returns(at: &Mutex<At>, found: io::Result<Metadata>) {
        lock(at).answer = Some(found);
    }

    fn is_looked_at(left: &mut Left, after: Duration) -> bool {
        !left.known(Instant::now() + after).contains_key(Path::new("/file"))
    }

    /// Fault: a file that is slow each time is never seen, as each answer comes too late.
    #[test]
    fn what_a_thread_that_was_left_finds_is_told_until_a_look_is_over_and_no_longer() {
        let mut left = Left::default();
        let at = leave(&mut left, "/file");
        let path = Path::new("/file");
        assert!(matches!(left.known(Instant::now()).get(path), Some(Known::Later)));
        assert!(matches!(left.known(Instant::now() + LOOK_MAX / 2).get(path), Some(Known::Later)));
        returns(&at, Err(io::ErrorKind::NotFound.into()));
        for _ in 0..2 {
            let known = left.known(Instant::now());
            let Some(Known::Answer(answer)) = known.get(path) else { panic!("there is an answer") };
            assert_eq!(copy_of(answer).expect_err("it was an error").kind(), io::ErrorKind::NotFound);
        }
        left.forget(&[path.into()]);
        assert!(is_looked_at(&mut left, Duration::ZERO));
        // Nor is it told much later.
        returns(&leave(&mut left, "/file"), Err(io::ErrorKind::NotFound.into()));
        assert!(!is_looked_at(&mut left, Duration::ZERO));
        assert!(is_looked_at(&mut left, ANSWER_KEPT * 2));
    }

    /// Fault: what is new in the place of a file that never answers is not seen until the host is started again.
    #[test]
    fn a_file_that_does_not_answer_is_looked_at_again_less_and_less_often() {
        let mut left = Left::default();
        for seconds in [2, 4, 8, 16, 32, 64, 64] {
            leave(&mut left, "/file");
            assert!(!is_looked_at(&mut left, Duration::from_secs(seconds - 1)), "before {seconds} s");
            assert!(is_looked_at(&mut left, Duration::from_secs(seconds)), "after {seconds} s");
        }
        let known = left.known(Instant::now() + LOOK_MAX);
        assert!(matches!(known.get(Path::new("/file")), Some(Known::Never)));
        left.forget(&["/file".into()]);
        assert_eq!((left.known(Instant::now()).len(), left.threads.len()), (0, 7));
    }

    #[test]
    fn few_threads_are_left_at_files_that_do_not_answer() {
        let mut left = Left::default();
        let threads: Vec<_> = (0..THREADS_MAX).map(|_| leave(&mut left, "/file")).collect();
        assert!(!is_looked_at(&mut left, AGAIN_AFTER_MAX * 2));
        assert!(!left.known(Instant::now()).contains_key(Path::new("/other")));
        // One from before the last answer does not know what is there now.
        left.forget(&["/file".into()]);
        let last = leave(&mut left, "/file");
        returns(&threads[0], Err(io::ErrorKind::NotFound.into()));
        assert!(matches!(left.known(Instant::now()).get(Path::new("/file")), Some(Known::Later)));
        returns(&last, Err(io::ErrorKind::NotFound.into()));
        assert!(matches!(left.known(Instant::now()).get(Path::new("/file")), Some(Known::Answer(_))));
    }
}
