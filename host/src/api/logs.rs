//! What a job's attempts have logged: as NDJSON or as text, once or for as long as it runs.

mod reader;

use std::sync::Arc;

use async_stream::try_stream;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use utoipa::IntoParams;

pub(super) use self::reader::Line;
use self::reader::{Place, Reader};
use super::jobs::parse_id;
use super::problem::Problem;
use super::{Api, Segments};
use crate::events::{Scope, Subscription};
use crate::job::Sight;
use crate::store::StoreError;

/// What [`Wish::parse`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes a request and is never made")]
struct LogQuery {
    /// Go on until the job has ended.
    follow: Option<bool>,
    /// Begin behind the line with this `id`.
    #[param(pattern = "^[0-9a-f]{1,16}-[0-9]{1,19}$")]
    after: Option<String>,
}

/// What a job's attempts have logged: a line each as NDJSON, or as text to who likes that better.
///
/// With `follow=true` until the job has ended, and with `after=ID` only what came after that line, also when the host was started again since.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/logs", operation_id = "getLogs", tag = "results", params(LogQuery),
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
    let Wish { follow, after } = Wish::parse(&query.unwrap_or_default())?;
    api.queue.get(id)?;
    let format = if prefers_text(&headers) { Format::Text } else { Format::Ndjson };
    let mut reader = Reader::new(Arc::clone(&api), id, after);
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

#[derive(Clone, Copy)]
enum Format {
    Text,
    Ndjson,
}

impl Format {
    fn lines(self, lines: &[Line]) -> Bytes {
        let mut text = Vec::new();
        for line in lines {
            match self {
                Format::Text => {
                    let level = line.line.level.map(|level| level.to_uppercase() + " ").unwrap_or_default();
                    text.extend_from_slice(format!("{level}{}", line.line.message).as_bytes());
                }
                Format::Ndjson => text.extend(serde_json::to_vec(line).unwrap_or_default()),
            }
            text.push(b'\n');
        }
        text.into()
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

/// What is asked for.
#[derive(Default)]
struct Wish {
    follow: bool,
    after: Place,
}

impl Wish {
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut wish = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let wrong = match (name.as_ref(), value.as_ref()) {
                ("follow", "true" | "false") => {
                    wish.follow = value == "true";
                    continue;
                }
                ("after", id) => match Place::parse(id) {
                    Some(after) => {
                        wish.after = after;
                        continue;
                    }
                    None => "expected the id of a line of this log, as the host has told it",
                },
                _ => "only follow=true, follow=false or after=ID can be given here",
            };
            let problem = Problem::invalid_option(format!("the query parameter {name}: {wrong}"));
            return Err(problem.in_parameter(name, wrong));
        }
        Ok(wish)
    }
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
