//! Follows a job through its server-sent events, also across a host that is started again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{Method, Response};
use serde::Deserialize;
use tokio::time::sleep;

use super::{Client, ClientError, JobView, ProgressView};

/// How long a host may be away while one of its jobs is followed. Jobs survive that, so their followers should too.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// Between two attempts to reach a host that is away.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// The largest event a host sends is a job with its tags and a message.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// What a follower is told.
#[derive(Debug)]
pub enum Seen {
    /// The job moved, or this is where it is.
    State(Box<JobView>),
    /// It says how far it is.
    Progress(ProgressView),
    /// The host is away; it is waited for.
    Away,
}

#[derive(Deserialize)]
struct ProgressEvent {
    progress: ProgressView,
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// What kind of event.
    pub name: String,
    /// One JSON document.
    pub data: String,
    id: String,
}

impl Client {
    /// Follows a job until it has ended; answers it as text, with its usage reports.
    pub async fn follow(&self, id: &str, mut report: impl FnMut(Seen)) -> Result<String, ClientError> {
        let mut last = String::new();
        let mut away_since = None;
        loop {
            match self.listen(&["v1", "jobs", id, "events"], &[], &last).await {
                Ok(mut events) => {
                    away_since = None;
                    while let Ok(Some(event)) = events.next(self).await {
                        match event.name.as_str() {
                            "state" => {
                                let job: JobView = self.parse(&event.data)?;
                                let has_ended = job.has_ended();
                                report(Seen::State(Box::new(job)));
                                if has_ended {
                                    return self.job(id).await;
                                }
                            }
                            "progress" => report(Seen::Progress(self.parse::<ProgressEvent>(&event.data)?.progress)),
                            _ => {}
                        }
                        last = event.id;
                    }
                }
                Err(error @ ClientError::Unreachable(..)) => {
                    let since = *away_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > AWAY_MAX {
                        return Err(error);
                    }
                    report(Seen::Away);
                }
                Err(error) => return Err(error),
            }
            // The stream ended before the job did: the host is stopping, or let a slow reader go.
            sleep(TRY_EVERY).await;
        }
    }

    /// Opens a stream of events, of a job or of all.
    pub async fn listen(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        last_event: &str,
    ) -> Result<EventStream, ClientError> {
        let mut request = self.request_with(Method::GET, path, query);
        if !last_event.is_empty() {
            request = request.header("last-event-id", last_event);
        }
        Ok(EventStream { response: self.send(request).await?, received: Vec::new() })
    }
}

/// A stream of events as it comes.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    received: Vec<u8>,
}

impl EventStream {
    /// The next event, or nothing once the stream has ended.
    pub async fn next(&mut self, client: &Client) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.received.drain(..end + 2).collect();
                let event = parse(&String::from_utf8_lossy(&block));
                // Comments only keep the connection alive.
                if event.name.is_empty() {
                    continue;
                }
                return Ok(Some(event));
            }
            if self.received.len() > EVENT_BYTES_MAX {
                let reason = format!("an event of more than {EVENT_BYTES_MAX} bytes");
                return Err(ClientError::NotUnderstood(client.url().to_owned(), reason));
            }
            let chunk: Option<Bytes> = client.chunk(&mut self.response).await?;
            let Some(chunk) = chunk else { return Ok(None) };
            self.received.extend_from_slice(&chunk);
        }
    }
}

/// The lines of one event, as the host writes them: `name: value`, a line each.
fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => event.name = value.to_owned(),
            "id" => event.id = value.to_owned(),
            "data" if event.data.is_empty() => event.data = value.to_owned(),
            "data" => event.data = format!("{}\n{value}", event.data),
            _ => {}
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_line_by_line() {
        let event = parse("event: state\nid: a-1\ndata: {\"a\":\ndata: 1}\n\n");
        assert_eq!(event, Event { name: "state".into(), id: "a-1".into(), data: "{\"a\":\n1}".into() });
        assert_eq!(parse(": still here\n\n"), Event::default());
    }
}
