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
/// Lines under way, until it is their turn to be answered: two groups, so that one fills while the other is flushed.
pub(super) const UNDER_WAY_MAX: usize = 2 * LINES_MAX;
/// Bytes of the lines under way that go by themselves.
const ALONE_BYTES_MAX: usize = 16 << 20;

/// A line's check, which may have to wait for something.
pub(super) type Checking<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Lines that are submitted as one, in their order.
pub(super) enum Group<T> {
    /// Those that were there, checked.
    Together(Vec<T>),
    /// One whose check has begun and waits for something, and the place of its bytes, which it has until it is submitted.
    Alone(Checking<T>, OwnedSemaphorePermit),
}

/// A line that goes by itself, before there is a place for its bytes.
struct Alone<T> {
    checking: Checking<T>,
    bytes: usize,
    place: OwnedSemaphorePermit,
}

/// The lines of a body, group by group. `check` is told the number of each line as well.
pub(super) struct Groups<C, T> {
    lines: Lines,
    check: C,
    number: u64,
    /// The line that comes next, if it goes by itself.
    alone: Option<Alone<T>>,
    under_way: Arc<Semaphore>,
    alone_bytes: Arc<Semaphore>,
}

impl<C: FnMut(u64, Line) -> Checking<T>, T> Groups<C, T> {
    pub(super) fn new(lines: Lines, check: C) -> Self {
        let (under_way, alone_bytes) = (Semaphore::new(UNDER_WAY_MAX), Semaphore::new(ALONE_BYTES_MAX));
        Self {
            lines,
            check,
            number: 0,
            alone: None,
            under_way: Arc::new(under_way),
            alone_bytes: Arc::new(alone_bytes),
        }
    }

    /// The next group and the places of its lines among those under way, once there are some; nothing at the end.
    pub(super) async fn next(&mut self) -> Option<(Group<T>, OwnedSemaphorePermit)> {
        if self.alone.is_none()
            && let Some((together, places)) = self.together().await
        {
            return Some((Group::Together(together), places));
        }
        // Not more than there are, as a line has a bound.
        let bytes = u32::try_from(self.alone.as_ref()?.bytes).unwrap_or(u32::MAX);
        // Neither semaphore is ever closed.
        let room = Arc::clone(&self.alone_bytes).acquire_many_owned(bytes).await.ok()?;
        let Alone { checking, place, .. } = self.alone.take()?;
        Some((Group::Alone(checking, room), place))
    }

    /// The lines up to one that goes by itself. Nothing if that is the next one, and at the end.
    async fn together(&mut self) -> Option<(Vec<T>, OwnedSemaphorePermit)> {
        let mut place = Arc::clone(&self.under_way).acquire_owned().await.ok()?;
        let mut line = self.lines.next().await?;
        let (mut together, mut bytes, mut places) = (Vec::new(), 0, None::<OwnedSemaphorePermit>);
        loop {
            let size = line.size();
            let mut checking = (self.check)(self.number, line);
            self.number += 1;
            let Some(checked) = checking.as_mut().now_or_never() else {
                self.alone = Some(Alone { checking, bytes: size, place });
                break;
            };
            together.push(checked);
            bytes += size;
            match &mut places {
                Some(places) => places.merge(place),
                None => places = Some(place),
            }
            if together.len() == LINES_MAX || bytes >= BYTES_MAX {
                break;
            }
            let Ok(another) = Arc::clone(&self.under_way).try_acquire_owned() else { break };
            // Who sends line by line is answered line by line: what is there does not wait for more.
            let Some(Some(next)) = self.lines.next().now_or_never() else { break };
            (line, place) = (next, another);
        }
        Some((together, places?))
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
            Some(Some((Group::Alone(..), _))) => vec!["alone".to_owned()],
            Some(None) => vec!["the end".to_owned()],
            None => vec!["not yet".to_owned()],
        }
    }

    /// As many groups as wait for nothing.
    fn all(groups: &mut Groups<Check, String>) -> Vec<(Group<String>, OwnedSemaphorePermit)> {
        std::iter::from_fn(|| groups.next().now_or_never().flatten()).collect()
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

    /// Fault: each line that waits cuts a group short, and soon no place is left for another group.
    #[test]
    fn lines_that_wait_take_one_place_each() {
        let (chunks, mut groups) = groups();
        chunks.send("a\nw\n".repeat(UNDER_WAY_MAX / 2).leak()).expect("it is read");
        let mut under_way = all(&mut groups);
        assert_eq!(under_way.len(), UNDER_WAY_MAX);
        chunks.send("b\n").expect("it is read");
        assert_eq!(next(&mut groups), ["not yet"]);
        under_way.clear();
        assert_eq!(next(&mut groups), [format!("{UNDER_WAY_MAX} b")]);
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
    fn so_many_lines_are_under_way_and_no_more() {
        let (chunks, mut groups) = groups();
        chunks.send("a\n".repeat(UNDER_WAY_MAX - 1).leak()).expect("it is read");
        let mut under_way = all(&mut groups);
        assert_eq!(under_way.len(), 2);
        chunks.send("b\nc\n").expect("it is read");
        let last = groups.next().now_or_never().flatten();
        assert!(matches!(last, Some((Group::Together(ref lines), _)) if lines.len() == 1), "there is one place");
        assert_eq!(next(&mut groups), ["not yet"]);
        under_way.pop();
        assert_eq!(next(&mut groups), [format!("{UNDER_WAY_MAX} c")]);
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
