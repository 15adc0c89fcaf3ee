//! Server-sent events as a client sees them, one after the other.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use super::answer::block_on;
use super::{Host, PATIENCE};

/// More than all tests together take.
const LONGER_THAN_ANY: Duration = Duration::from_secs(7_200);

/// An event, or a comment, whose `name` is then empty.
#[derive(Debug, Default, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
    pub(crate) comment: bool,
}

/// An open stream.
pub(crate) struct Stream {
    response: Response,
    buffer: Vec<u8>,
}

impl Stream {
    /// Opens a stream, as one that was here before if an id is given.
    pub(crate) fn open(host: &Host, path: &str, last_event_id: Option<&str>) -> Self {
        Self::of(host.request(Method::GET, path), last_event_id)
    }

    /// Opens the stream that this request asks for.
    pub(crate) fn of(request: RequestBuilder, last_event_id: Option<&str>) -> Self {
        let request = last_event_id.into_iter().fold(request, |request, id| request.header("last-event-id", id));
        // The client's own limit would be for all of the stream, and nobody knows how long one is followed on a busy machine.
        let request = request.timeout(LONGER_THAN_ANY);
        let answer = block_on(async { tokio::time::timeout(PATIENCE, request.send()).await });
        let response = answer.expect("the host answers in time").expect("the host answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, buffer: Vec::new() }
    }

    /// The next event or comment; nothing when the host has closed the stream.
    pub(crate) fn next_or_comment(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(parse(&String::from_utf8(block).expect("UTF-8")));
            }
            let chunk = block_on(async { tokio::time::timeout(PATIENCE, self.response.chunk()).await });
            let chunk = chunk.expect("the stream goes on").expect("the stream does not break off")?;
            self.buffer.extend_from_slice(&chunk);
        }
    }

    /// The next event.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.next_or_comment()?;
            if !event.name.is_empty() {
                return Some(event);
            }
        }
    }

    /// The next event that is so.
    pub(crate) fn find(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().expect("the stream goes on until then");
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Every event up to the end.
    pub(crate) fn rest(mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Whether nothing comes for so long.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        block_on(async { tokio::time::timeout(time, self.response.chunk()).await.is_err() })
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        match line.split_once(':') {
            Some(("", _)) => event.comment = true,
            Some(("id", id)) => event.id = id.trim().to_owned(),
            Some(("event", name)) => event.name = name.trim().to_owned(),
            Some(("data", data)) => event.data = serde_json::from_str(data).expect("JSON"),
            _ => {}
        }
    }
    event
}
