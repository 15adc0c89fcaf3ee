//! What a job's attempts have logged: as NDJSON or as text, once or for as long as it runs.

use std::sync::Arc;

use async_stream::try_stream;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::jobs::parse_id;
use super::problem::Problem;
use super::{Api, Segments};
use crate::events::{Scope, Subscription};
use crate::job::{JobId, Sight};
use crate::queue::UnderWay;
use crate::running::LogLine;
use crate::store::StoreError;

/// What [`parse_follow`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes a request and is never made")]
struct FollowQuery {
    /// Go on until the job has ended.
    follow: Option<bool>,
}

/// What a job's attempts have logged: a line each as NDJSON, or as text to who likes that better.
///
/// With `follow=true` until the job has ended.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/logs", operation_id = "getLogs", tag = "results", params(FollowQuery),
    extensions(("x-lines" = json!({"response": {"$ref": "#/components/schemas/LoggedLine"}}))),
    responses(
        (status = 200, description = "The lines", content((String = "application/x-ndjson"), (String = "text/plain"))),
        (status = 404, description = "There is no such job"),
        (status = 422, description = "A query parameter cannot be accepted"),
    )
)]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Segments(id): Segments<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = parse_id(&id)?;
    let follow = parse_follow(&query.unwrap_or_default())?;
    api.queue.get(id)?;
    let format = if prefers_text(&headers) { Format::Text } else { Format::Ndjson };
    let mut reader = Reader { api: Arc::clone(&api), id, reported: 0, current: None };
    let body = if follow {
        // Woken by whatever happens to the job, which whoever asks was found to be allowed to see.
        let subscription = api.queue.subscribe(Scope::Job(id), Sight::default())?;
        Body::from_stream(followed(reader, subscription, format))
    } else {
        let (lines, _) = reader.read()?;
        Body::from(format.lines(&lines))
    };
    let media_type = match format {
        Format::Text => "text/plain; charset=utf-8",
        Format::Ndjson => "application/x-ndjson",
    };
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::VARY, HeaderValue::from_static("accept")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((fields, body).into_response())
}

/// A line and the attempt that wrote it.
#[derive(Serialize, ToSchema)]
#[schema(as = LoggedLine)]
pub(super) struct Line {
    attempt: u32,
    #[serde(flatten)]
    #[schema(inline)]
    line: LogLine,
}

#[derive(Clone, Copy)]
enum Format {
    Text,
    Ndjson,
}

impl Format {
    fn lines(self, lines: &[Line]) -> Bytes {
        let mut text = Vec::new();
        for Line { attempt, line } in lines {
            match self {
                Format::Text => {
                    let level = line.level.map(|level| level.to_uppercase() + " ").unwrap_or_default();
                    text.extend_from_slice(format!("{level}{}", line.message).as_bytes());
                }
                Format::Ndjson => {
                    let line = Line { attempt: *attempt, line: line.clone() };
                    text.extend(serde_json::to_vec(&line).unwrap_or_default());
                }
            }
            text.push(b'\n');
        }
        text.into()
    }
}

/// Goes through a job's log once, wherever its lines are by then: in the reports of ended attempts, or in the hands of
/// the one that is being made.
struct Reader {
    api: Arc<Api>,
    id: JobId,
    /// Reports up to this number were read, or what stands in them was read while it was written.
    reported: u32,
    /// The attempt being followed, and how many of its lines were read.
    current: Option<(UnderWay, u64)>,
}

impl Reader {
    /// The lines that are there and were not read before, and whether there may be more later.
    fn read(&mut self) -> Result<(Vec<Line>, bool), StoreError> {
        let mut lines = Vec::new();
        loop {
            // Looked at first: once it has ended and nobody runs it, every report is there.
            let ended = self.api.queue.get(self.id)?.state.is_terminal();
            let (under_way, seen) = match self.current.take() {
                Some(current) => current,
                None => match self.api.queue.under_way(self.id).filter(|one| one.reports >= self.reported) {
                    Some(under_way) => {
                        self.read_reports(Some(under_way.reports), &mut lines)?;
                        (under_way, 0)
                    }
                    None => {
                        self.read_reports(None, &mut lines)?;
                        return Ok((lines, !ended));
                    }
                },
            };
            let attempt_ended = under_way.attempt.has_ended();
            let (new, left_out, written) = under_way.attempt.lines_since(seen);
            let attempt = under_way.number;
            if left_out > 0 {
                let message = format!("{left_out} lines before this one are no longer held");
                lines.push(Line { attempt, line: LogLine { at: None, level: None, message } });
            }
            lines.extend(new.into_iter().map(|line| Line { attempt, line }));
            if !attempt_ended {
                self.current = Some((under_way, written));
                return Ok((lines, true));
            }
            // It may have ended without a report, when its claim did not hold any more.
            let (_, reports) = self.api.queue.store().usage_since(self.id, u32::MAX)?;
            self.reported = reports.min(under_way.reports + 1);
        }
    }

    fn read_reports(&mut self, until: Option<u32>, lines: &mut Vec<Line>) -> Result<(), StoreError> {
        let (reports, total) = self.api.queue.store().usage_since(self.id, self.reported)?;
        let until = until.unwrap_or(total);
        let first = total.saturating_sub(u32::try_from(reports.len()).unwrap_or(u32::MAX));
        for (_, usage) in (first..until).zip(reports) {
            let attempt = usage.attempt;
            lines.extend(usage.log.iter().map(|text| Line { attempt, line: LogLine::of(text, None) }));
        }
        self.reported = until;
        Ok(())
    }

    /// Ends when there may be something new to read: the job's lines are told soon after they are written, and so is how it
    /// moves.
    async fn changed(&self, subscription: &mut Option<Subscription>) {
        let attempt_ended = async {
            match &self.current {
                Some((under_way, _)) => under_way.attempt.ended().await,
                None => std::future::pending().await,
            }
        };
        let moved = async {
            match subscription {
                Some(subscription) => subscription.next().await,
                None => None,
            }
        };
        let let_go = tokio::select! {
            () = attempt_ended => false,
            moved = moved => moved.is_none(),
        };
        if let_go {
            // It fell behind in hearing of the job, which costs it nothing: it reads what is there.
            *subscription = self.api.queue.subscribe(Scope::Job(self.id), Sight::default()).ok();
        }
    }
}

fn followed(
    mut reader: Reader,
    subscription: Subscription,
    format: Format,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    try_stream! {
        let mut stopping = reader.api.stopping.clone();
        let mut subscription = Some(subscription);
        loop {
            let (lines, more) = match reader.read() {
                // Deleted while it was being read: there is nothing more to come.
                Err(StoreError::NotFound) => break,
                read => read.map_err(std::io::Error::other)?,
            };
            let wrote = !lines.is_empty();
            if wrote {
                yield format.lines(&lines);
            }
            if !more || subscription.is_none() {
                break;
            }
            // Lines written while the last ones were sent are there already.
            if wrote {
                continue;
            }
            tokio::select! {
                () = reader.changed(&mut subscription) => {}
                _ = stopping.wait_for(|stopping| *stopping) => break,
            }
        }
    }
}

fn parse_follow(query: &str) -> Result<bool, Problem> {
    let mut follow = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        follow = match (name.as_ref(), value.as_ref()) {
            ("follow", "true") => true,
            ("follow", "false") => false,
            _ => {
                let detail = "only follow=true or follow=false can be given here";
                let problem = Problem::invalid_option(format!("the query parameter {name}: {detail}"));
                return Err(problem.in_parameter(name, detail));
            }
        };
    }
    Ok(follow)
}

/// Whether the client likes text better than NDJSON. Who says nothing gets NDJSON.
fn prefers_text(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut best: Vec<(f32, bool)> = Vec::new();
    for range in accept.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |text| text.parse().ok());
        match media_type.as_str() {
            "text/plain" | "text/*" => best.push((quality.unwrap_or(0.0), true)),
            "application/x-ndjson" | "application/*" | "*/*" => best.push((quality.unwrap_or(0.0), false)),
            _ => {}
        }
    }
    let quality_of = |text| best.iter().filter(|(_, is)| *is == text).map(|(quality, _)| *quality).fold(0.0, f32::max);
    let (text, ndjson) = (quality_of(true), quality_of(false));
    // As much liked as the other, the one that is named first.
    text > ndjson || text > 0.0 && text == ndjson && best.first().is_some_and(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_clients_choice() {
        for (accept, text) in [
            ("text/plain", true),
            ("text/plain, */*;q=0.5", true),
            ("*/*", false),
            ("application/x-ndjson, text/plain", false),
            ("application/x-ndjson;q=0.1, text/plain;q=0.2", true),
            ("text/html, */*", false),
            ("image/png", false),
            ("text/plain;q=0", false),
        ] {
            let headers = [(header::ACCEPT, HeaderValue::from_static(accept))];
            assert_eq!(prefers_text(&headers.into_iter().collect()), text, "{accept}");
        }
        assert!(!prefers_text(&HeaderMap::new()));
    }
}
