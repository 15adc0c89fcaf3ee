//! Follows a job through its server-sent events, also across a host that is started again.

use bytes::Bytes;
use reqwest::{Method, Response};
use serde::Deserialize;

use super::{Client, ClientError, JobView, Patience, ProgressView};

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
    /// It is there again.
    Back,
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
        let mut patience = self.patience();
        loop {
            match self.follow_while_there(id, &mut last, &mut patience, &mut report).await {
                Ok(Some(end)) => return Ok(end),
                // The stream ended before the job did: the host is stopping, or let a slow reader go.
                Ok(None) => {}
                Err(error) => patience.bear(error)?,
            }
            if patience.lost() {
                report(Seen::Away);
            }
            patience.pause().await;
        }
    }

    /// Follows a job for as long as the stream of its events lasts; answers it if it has ended.
    async fn follow_while_there(
        &self,
        id: &str,
        last: &mut String,
        patience: &mut Patience,
        report: &mut impl FnMut(Seen),
    ) -> Result<Option<String>, ClientError> {
        let mut events = self.listen(&["v1", "jobs", id, "events"], &[], last).await?;
        while let Some(event) = events.next(self).await? {
            if patience.found() {
                report(Seen::Back);
            }
            match event.name.as_str() {
                "state" => {
                    let job: JobView = self.parse(&event.data)?;
                    let has_ended = job.has_ended();
                    report(Seen::State(Box::new(job)));
                    if has_ended {
                        return self.job(id).await.map(Some);
                    }
                }
                "progress" => report(Seen::Progress(self.parse::<ProgressEvent>(&event.data)?.progress)),
                _ => {}
            }
            events.last().clone_into(last);
        }
        Ok(None)
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
        Ok(EventStream { response: self.send(request).await?, received: Vec::new(), last: last_event.to_owned() })
    }
}

/// A stream of events as it comes.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    received: Vec<u8>,
    last: String,
}

impl EventStream {
    /// Where one goes on who comes back, for [`Client::listen`].
    pub fn last(&self) -> &str {
        &self.last
    }

    /// The next event, or nothing once the stream has ended.
    pub async fn next(&mut self, client: &Client) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.received.drain(..end + 2).collect();
                let event = parse(&String::from_utf8_lossy(&block));
                // Also one that says nothing else has a place in the stream.
                if !event.id.is_empty() {
                    self.last.clone_from(&event.id);
                }
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
