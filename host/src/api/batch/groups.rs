//! Which lines are submitted together: those that are there and are checked without a wait. A line that waits for something (its
//! input goes to a file, or is checked on a thread of its own; somebody looks for its kind's file) goes by itself and holds up no other.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lines::{Line, Lines};

/// Lines of a group: as many as one commit of the store takes.
const LINES_MAX: usize = 256;
/// A group whose lines have so many bytes takes no more, so that what the store writes for it is no more than it should write at once.
const BYTES_MAX: usize = 256 << 10;
/// Groups under way: one fills while the other is flushed.
const GROUPS_MAX: usize = 2;
/// Bytes of the lines under way that go by themselves.
const ALONE_BYTES_MAX: usize = 16 << 20;

/// A line's check, which may have to wait for something.
pub(super) type Checking<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Lines that are submitted as one, in their order.
pub(super) enum Group<T> {
    /// Those that were there, checked.
    Together(Vec<T>),
    /// One whose check has begun and waits for something.
    Alone(Checking<T>),
}

/// The lines of a body, group by group. `check` is told the number of each line as well.
pub(super) struct Groups<C, T> {
    lines: Lines,
    check: C,
    number: u64,
    /// The line that comes next, and its size, if it goes by itself.
    alone: Option<(Checking<T>, usize)>,
    groups: Arc<Semaphore>,
    alone_bytes: Arc<Semaphore>,
}

impl<C: FnMut(u64, Line) -> Checking<T>, T> Groups<C, T> {
    pub(super) fn new(lines: Lines, check: C) -> Self {
        let (groups, alone_bytes) = (Semaphore::new(GROUPS_MAX), Semaphore::new(ALONE_BYTES_MAX));
        Self { lines, check, number: 0, alone: None, groups: Arc::new(groups), alone_bytes: Arc::new(alone_bytes) }
    }

    /// The next group and its place among those under way, once there is one; nothing at the end.
    pub(super) async fn next(&mut self) -> Option<(Group<T>, OwnedSemaphorePermit)> {
        // Neither semaphore is ever closed.
        if self.alone.is_none() {
            let place = Arc::clone(&self.groups).acquire_owned().await.ok()?;
            let together = self.together().await;
            if !together.is_empty() {
                return Some((Group::Together(together), place));
            }
        }
        // Not more than there are, as a line has a bound.
        let bytes = u32::try_from(self.alone.as_ref()?.1).unwrap_or(u32::MAX);
        let place = Arc::clone(&self.alone_bytes).acquire_many_owned(bytes).await.ok()?;
        let (checking, _) = self.alone.take()?;
        Some((Group::Alone(checking), place))
    }

    /// The lines up to one that goes by itself. None if that is the next one, and at the end.
    async fn together(&mut self) -> Vec<T> {
        let (mut together, mut bytes) = (Vec::new(), 0);
        while together.len() < LINES_MAX && bytes < BYTES_MAX {
            let line = self.lines.next();
            // Who sends line by line is answered line by line: what is there does not wait for more.
            let line = if together.is_empty() { line.await } else { line.now_or_never().flatten() };
            let Some(line) = line else { break };
            let size = line.size();
            let mut checking = (self.check)(self.number, line);
            self.number += 1;
            match checking.as_mut().now_or_never() {
                Some(checked) => together.push(checked),
                None => {
                    self.alone = Some((checking, size));
                    break;
                }
            }
            bytes += size;
        }
        together
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use axum::body::{Body, Bytes};
    use futures_util::StreamExt;
    use tokio::sync::mpsc;

    use super::*;

    type Chunks = mpsc::UnboundedSender<&'static str>;
    type Check = fn(u64, Line) -> Checking<String>;

    /// Groups of what is sent. A line with a `w` waits for ever.
    fn groups() -> (Chunks, Groups<Check, String>) {
        let (chunks, mut sent) = mpsc::unbounded_channel::<&str>();
        let body = futures_util::stream::poll_fn(move |context| sent.poll_recv(context));
        let body = Body::from_stream(body.map(|chunk| Ok::<_, io::Error>(Bytes::from_static(chunk.as_bytes()))));
        let check: Check = |number, line| {
            Box::pin(async move {
                let Line::Whole(text) = line else { return format!("{number} {line:?}") };
                if text.contains(&b'w') {
                    std::future::pending::<()>().await;
                }
                format!("{number} {}", String::from_utf8_lossy(&text))
            })
        };
        (chunks, Groups::new(Lines::new(body, 1 << 20, 1 << 30), check))
    }

    /// The next group, if it waits for nothing.
    fn next(groups: &mut Groups<Check, String>) -> Vec<String> {
        match groups.next().now_or_never() {
            Some(Some((Group::Together(lines), _))) => lines,
            Some(Some((Group::Alone(_), _))) => vec!["alone".to_owned()],
            Some(None) => vec!["the end".to_owned()],
            None => vec!["not yet".to_owned()],
        }
    }

    /// Fault: lines that are there wait for others, which their client sends only once these are answered.
    #[test]
    fn what_is_there_is_a_group_and_waits_for_nothing_else() {
        let (chunks, mut groups) = groups();
        chunks.send("a\nb\n").expect("it is read");
        chunks.send("c\nhalf of").expect("it is read");
        assert_eq!(next(&mut groups), ["0 a", "1 b", "2 c"]);
        assert_eq!(next(&mut groups), ["not yet"], "there is no whole line");
        chunks.send(" d\n").expect("it is read");
        assert_eq!(next(&mut groups), ["3 half of d"]);
        drop(chunks);
        assert_eq!(next(&mut groups), ["the end"]);
    }

    /// Fault: one line that waits for something holds up those before it, or those behind it.
    #[test]
    fn a_line_that_waits_goes_by_itself() {
        let (chunks, mut groups) = groups();
        chunks.send("a\nw\nb\nc\nw\nw\n").expect("it is read");
        drop(chunks);
        for expected in [&["0 a"][..], &["alone"], &["2 b", "3 c"], &["alone"], &["alone"], &["the end"]] {
            assert_eq!(next(&mut groups), expected);
        }
    }

    #[test]
    fn a_group_has_a_bound_of_lines_and_one_of_bytes() {
        let (chunks, mut groups) = groups();
        let lines = "x\n".repeat(LINES_MAX + 1).leak();
        let long = format!("{}\n", "y".repeat(100 << 10)).repeat(5).leak();
        chunks.send(lines).expect("it is read");
        chunks.send(long).expect("it is read");
        drop(chunks);
        let mut sizes = Vec::new();
        for _ in 0..3 {
            sizes.push(next(&mut groups).len());
        }
        assert_eq!(sizes, [LINES_MAX, 4, 2], "the third of the long ones is the last of its group");
        assert_eq!(next(&mut groups), ["the end"]);
    }

    #[test]
    fn two_groups_are_under_way_and_no_third() {
        let (chunks, mut groups) = groups();
        let mut under_way = Vec::new();
        for _ in 0..GROUPS_MAX {
            chunks.send("a\n").expect("it is read");
            under_way.extend(groups.next().now_or_never().flatten());
        }
        chunks.send("a\n").expect("it is read");
        assert_eq!(next(&mut groups), ["not yet"]);
        chunks.send("b\n").expect("it is read");
        under_way.pop();
        assert_eq!(next(&mut groups), ["2 a", "3 b"]);
    }

    #[test]
    fn lines_that_wait_have_a_bound_of_bytes() {
        let (chunks, mut groups) = groups();
        let line = format!("{}\n", "w".repeat(1 << 20)).leak();
        let mut under_way = Vec::new();
        for _ in 0..ALONE_BYTES_MAX >> 20 {
            chunks.send(line).expect("it is read");
            under_way.extend(groups.next().now_or_never().flatten());
        }
        assert_eq!(under_way.len(), ALONE_BYTES_MAX >> 20);
        chunks.send(line).expect("it is read");
        assert_eq!(next(&mut groups), ["not yet"]);
        under_way.pop();
        assert_eq!(next(&mut groups), ["alone"]);
    }
}
