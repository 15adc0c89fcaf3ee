//! `POST /v1/jobs/batch`: many jobs in one request, a line each, answered line by line in the same order.
//!
//! Lines are read, submitted and answered as they come, many at a time so that they share flushes, and within bounds: of lines
//! under way, of their bytes, and of answers the client has not read yet. A line that is wrong fails alone.

mod lines;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use utoipa::ToSchema;

use self::lines::{Line, Lines};
use super::caller::Caller;
use super::problem::{self, Problem};
use super::submit::Keyed;
use super::trace::{self, Traced};
use super::{Api, submit};
use crate::job::JobId;

/// Lines being submitted at a time: two commits of the store, so that one fills while the other is flushed.
const UNDER_WAY_MAX: usize = 512;
/// Bytes of the lines being submitted.
const UNDER_WAY_BYTES_MAX: usize = 16 << 20;
/// Longest line; a larger job has a request of its own.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes of answers that wait for a client that only sends: some 40,000 lines. With more, reading waits as well.
const UNREAD_BYTES_MAX: usize = 4 << 20;
/// Answers sent in one piece, if there are so many.
const ANSWERS_AT_ONCE: usize = 256;

/// Whose lines they are.
#[derive(Clone)]
struct Sender {
    api: Arc<Api>,
    caller: Caller,
    traceparent: Option<String>,
    key: Option<[u8; 32]>,
}

/// A piece of the answer, and the room it takes until it is sent.
type Piece = (Bytes, OwnedSemaphorePermit);

/// The answer to one line.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchAnswer {
    /// The job is on disk.
    Accepted {
        /// 202.
        status: u16,
        #[schema(value_type = String, format = "uuid")]
        id: JobId,
    },
    /// The line was refused, and it alone.
    Refused {
        /// The status it would have had by itself.
        status: u16,
        problem: problem::Members,
    },
}

/// Submit many jobs, a line each; they are answered line by line in the same order.
///
/// The answer begins while lines are still being sent. A line that is wrong fails alone.
#[utoipa::path(
    post, path = "/v1/jobs/batch", operation_id = "submitBatch", tag = "submit", params(Keyed, Traced),
    extensions(("x-lines" = json!({"request": {"$ref": "#/components/schemas/Submit"}, "response": {"$ref": "#/components/schemas/BatchAnswer"}}))),
    request_body(content = String, content_type = "application/x-ndjson", description = "A job on each line, as in `POST /v1/jobs`"),
    responses(
        (status = 200, description = "An answer on each line", body = String, content_type = "application/x-ndjson"),
        (status = 400, description = "The Idempotency-Key is malformed"),
        (status = 422, description = "There is a query; options stand in the lines"),
    )
)]
pub(super) async fn post(
    State(api): State<Arc<Api>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Problem> {
    if let Some((name, _)) = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).next() {
        let detail = "a batch has no options; those of its jobs stand in their lines";
        let problem = Problem::invalid_option(format!("the query parameter {name}: {detail}"));
        return Err(problem.in_parameter(name, detail));
    }
    let key = submit::idempotency_key(&headers)?;
    // Without a bound of its own, as each piece carries a permit.
    let (pieces, mut answers) = mpsc::unbounded_channel();
    tokio::spawn(work(Sender { api, caller, traceparent: trace::parent(&headers), key }, request, pieces));
    // The first answer comes before the head of the response: a client that asked whether to send at all hears "go on" first.
    let first = answers.recv().await;
    let rest = stream::poll_fn(move |cx| answers.poll_recv(cx));
    let body = stream::iter(first).chain(rest).map(|(bytes, _)| Ok::<_, std::io::Error>(bytes));
    let fields = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))];
    Ok((fields, Body::from_stream(body)).into_response())
}

/// Goes through the lines until they end, or the client has gone.
async fn work(sender: Sender, request: Body, pieces: mpsc::UnboundedSender<Piece>) {
    let unread = Arc::new(Semaphore::new(UNREAD_BYTES_MAX));
    let answers = answers(sender, request).ready_chunks(ANSWERS_AT_ONCE);
    let mut answers = std::pin::pin!(answers);
    loop {
        let lines = tokio::select! {
            lines = answers.next() => lines,
            () = pieces.closed() => None,
        };
        let Some(lines) = lines else { break };
        let mut text = Vec::new();
        for line in lines {
            text.extend(serde_json::to_vec(&line).unwrap_or_default());
            text.push(b'\n');
        }
        let bytes = u32::try_from(text.len().min(UNREAD_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = tokio::select! {
            room = Arc::clone(&unread).acquire_many_owned(bytes) => room,
            () = pieces.closed() => break,
        };
        // Nobody closes the semaphore; a client that has gone needs no answers.
        let Ok(room) = room else { break };
        if pieces.send((text.into(), room)).is_err() {
            break;
        }
    }
}

fn answers(sender: Sender, request: Body) -> impl Stream<Item = BatchAnswer> {
    let api = &sender.api;
    let line_bytes_max = LINE_BYTES_MAX.min(usize::try_from(api.limits.json_bytes_max).unwrap_or(usize::MAX));
    let lines = Lines::new(request, line_bytes_max, api.limits.body_bytes_max);
    let under_way = Arc::new(Semaphore::new(UNDER_WAY_BYTES_MAX));
    let numbered = stream::unfold((lines, 0u64), |(mut lines, number)| async move {
        lines.next().await.map(|line| ((number, line), (lines, number + 1)))
    });
    let admitted = numbered.then(move |(number, line)| {
        let under_way = Arc::clone(&under_way);
        async move {
            // Not longer than all there is, as a line has a bound.
            let bytes = u32::try_from(line.size()).unwrap_or(u32::MAX);
            (number, line, under_way.acquire_many_owned(bytes).await)
        }
    });
    admitted
        .map(move |(number, line, room)| {
            let sender = sender.clone();
            async move {
                let answer = answer(&sender, number, line, line_bytes_max).await;
                drop(room);
                answer
            }
        })
        .buffered(UNDER_WAY_MAX)
}

async fn answer(sender: &Sender, number: u64, line: Line, line_bytes_max: usize) -> BatchAnswer {
    let accepted = async {
        let bytes = match line {
            Line::Whole(bytes) => bytes,
            Line::TooLong => {
                let advice = " as one line; send it as POST /v1/jobs";
                return Err(Problem::too_large(line_bytes_max as u64, advice));
            }
            Line::BodyTooLarge(most) => return Err(Problem::too_large(most, "; send what follows in another batch")),
            Line::BrokeOff(why) => return Err(Problem::malformed(format!("the body broke off here: {why}"))),
        };
        let wanted = submit::check(&sender.api, &sender.caller, &bytes).await?;
        let key = sender.key.map(|key| key_of_line(&key, number));
        let mut submission = wanted.into_submission(key)?;
        submission.options.traceparent.clone_from(&sender.traceparent);
        submit::accept(&sender.api, submission).await
    };
    match accepted.await {
        Ok(job) => BatchAnswer::Accepted { status: 202, id: job.id },
        Err(problem) => BatchAnswer::Refused { status: problem.status(), problem: problem.into_members() },
    }
}

/// A batch that is sent again under its key is the same jobs, line by line.
fn key_of_line(key: &[u8; 32], number: u64) -> [u8; 32] {
    Sha256::new_with_prefix(key).chain_update(number.to_le_bytes()).finalize().into()
}
