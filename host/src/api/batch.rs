//! `POST /v1/jobs/batch`: many jobs in one request, a line each, answered line by line in the same order.
//!
//! Lines are read, submitted and answered as they come, many at a time so that they share flushes, and within bounds: of lines
//! under way, of their bytes, and of answers the client has not read yet. A line that is wrong fails alone. `lines` finds the
//! lines, `groups` those that are submitted together.

mod groups;
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

use self::groups::{Checking, Group, Groups, UNDER_WAY_MAX};
use self::lines::{Line, Lines};
use super::caller::Caller;
use super::problem::{self, Problem};
use super::submit::Keyed;
use super::trace::{self, Traced};
use super::{Api, submit};
use crate::job::JobId;
use crate::queue::Submission;

/// Longest line; a larger job has a request of its own.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes of answers that wait for a client that only sends: some 40,000 lines. With more, reading waits as well.
const UNREAD_BYTES_MAX: usize = 4 << 20;
/// Groups whose answers are sent in one piece, if so many have theirs.
const GROUPS_AT_ONCE: usize = 256;

/// Whose lines they are.
struct Sender {
    api: Arc<Api>,
    caller: Caller,
    traceparent: Option<String>,
    key: Option<[u8; 32]>,
    line_bytes_max: usize,
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
    let line_bytes_max = LINE_BYTES_MAX.min(usize::try_from(api.limits.json_bytes_max).unwrap_or(usize::MAX));
    let sender = Sender { api, caller, traceparent: trace::parent(&headers), key, line_bytes_max };
    // Without a bound of its own, as each piece carries a permit.
    let (pieces, mut answers) = mpsc::unbounded_channel();
    tokio::spawn(work(Arc::new(sender), request, pieces));
    // The first answer comes before the head of the response: a client that asked whether to send at all hears "go on" first.
    let first = answers.recv().await;
    let rest = stream::poll_fn(move |cx| answers.poll_recv(cx));
    let body = stream::iter(first).chain(rest).map(|(bytes, _)| Ok::<_, std::io::Error>(bytes));
    let fields = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))];
    Ok((fields, Body::from_stream(body)).into_response())
}

/// Goes through the lines until they end, or the client has gone.
async fn work(sender: Arc<Sender>, request: Body, pieces: mpsc::UnboundedSender<Piece>) {
    let unread = Arc::new(Semaphore::new(UNREAD_BYTES_MAX));
    let answers = answers(sender, request).ready_chunks(GROUPS_AT_ONCE);
    let mut answers = std::pin::pin!(answers);
    loop {
        let groups = tokio::select! {
            groups = answers.next() => groups,
            () = pieces.closed() => None,
        };
        let Some(groups) = groups else { break };
        let mut text = Vec::new();
        for answer in groups.into_iter().flatten() {
            text.extend(serde_json::to_vec(&answer).unwrap_or_default());
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

/// The answers to the lines, in order, group by group.
fn answers(sender: Arc<Sender>, request: Body) -> impl Stream<Item = Vec<BatchAnswer>> {
    let lines = Lines::new(request, sender.line_bytes_max, sender.api.limits.body_bytes_max);
    let checker = Arc::clone(&sender);
    let check = move |number, line| -> Checking<_> { Box::pin(check(Arc::clone(&checker), number, line)) };
    let groups = Groups::new(lines, check);
    let groups = stream::unfold(groups, |mut groups| async move { Some((groups.next().await?, groups)) });
    groups
        .map(move |(group, place)| {
            let sender = Arc::clone(&sender);
            async move { (answer(&sender, group).await, place) }
        })
        // As many as if each line were a group.
        .buffered(UNDER_WAY_MAX)
        // Under way until it is their turn to be answered.
        .map(|(answers, _place)| answers)
}

/// What a line wants, if nothing is wrong with it.
async fn check(sender: Arc<Sender>, number: u64, line: Line) -> Result<Submission, Problem> {
    let bytes = match line {
        Line::Whole(bytes) => bytes,
        Line::TooLong => {
            let advice = " as one line; send it as POST /v1/jobs";
            return Err(Problem::too_large(sender.line_bytes_max as u64, advice));
        }
        Line::BodyTooLarge(most) => return Err(Problem::too_large(most, "; send what follows in another batch")),
        Line::BrokeOff(why) => return Err(Problem::malformed(format!("the body broke off here: {why}"))),
    };
    let wanted = submit::check(&sender.api, &sender.caller, &bytes).await?;
    let key = sender.key.map(|key| key_of_line(&key, number));
    let mut submission = wanted.into_submission(key)?;
    submission.options.traceparent.clone_from(&sender.traceparent);
    Ok(submission)
}

async fn answer(sender: &Sender, group: Group<Result<Submission, Problem>>) -> Vec<BatchAnswer> {
    let accepted = match group {
        Group::Together(lines) => submit::accept_all(&sender.api, lines, sender.traceparent.as_deref()).await,
        Group::Alone(line, _room) => {
            let accept = async { submit::accept(&sender.api, line.await?).await.map(|job| job.id) };
            vec![accept.await]
        }
    };
    let answer = |accepted: Result<JobId, Problem>| match accepted {
        Ok(id) => BatchAnswer::Accepted { status: 202, id },
        Err(problem) => BatchAnswer::Refused { status: problem.status(), problem: problem.into_members() },
    };
    accepted.into_iter().map(answer).collect()
}

/// A batch that is sent again under its key is the same jobs, line by line.
fn key_of_line(key: &[u8; 32], number: u64) -> [u8; 32] {
    Sha256::new_with_prefix(key).chain_update(number.to_le_bytes()).finalize().into()
}
