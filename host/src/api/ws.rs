//! `GET /v1/ws`: submit, follow and cancel many jobs over one WebSocket, over HTTP/1.1 or HTTP/2.
//!
//! Every message is JSON in one text frame of at most [`FRAME_BYTES_MAX`]; `GET /v1/ws/schema` describes each. A client sends
//! operations and is answered `accepted`, `problem` or `pong` under the `ref` it gave; `state`, `progress` and `result`
//! follow for the jobs it submitted or subscribed to.

mod message;
mod session;

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use self::session::Session;
use super::access::Counter;
use super::caller::Caller;
use super::problem::Problem;
use super::{Api, InUse};
use crate::events::Scope;
use crate::job::JobId;

/// Largest message in either direction; a client that sends a larger one is closed with 1009. Larger inputs are uploaded as blobs.
pub(super) const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes read ahead for one client. An idle one costs the host little more than this; a larger message gets more while it is read.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// Bytes that wait to be taken by the operating system for one client, besides the message being written.
const WRITE_BUFFER_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// Submit, follow and cancel many jobs over one WebSocket.
///
/// Over HTTP/1.1 with these fields, over HTTP/2 with an extended CONNECT. `GET /v1/ws/schema` describes the messages.
#[utoipa::path(
    get, path = "/v1/ws", operation_id = "connectWebSocket", tag = "events",
    responses(
        (status = 101, description = "The connection is a WebSocket now"),
        (status = 400, description = "The request does not begin a WebSocket"),
    )
)]
pub(super) async fn connect(
    State(api): State<Arc<Api>>,
    caller: Caller,
    counter: Counter,
    in_use: Option<Extension<InUse>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|rejection| Problem::no_websocket(&rejection.body_text()))?;
    // Nothing happens to a job of this id; what is of interest is added as the client names it.
    let subscription = api.queue.subscribe(Scope::Job(JobId::nil()), caller.sight().clone())?;
    let upgrade = upgrade.max_message_size(FRAME_BYTES_MAX).max_frame_size(FRAME_BYTES_MAX);
    let upgrade = upgrade.read_buffer_size(READ_BUFFER_BYTES).max_write_buffer_size(WRITE_BUFFER_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        Session::new(api, caller, counter, subscription).run(socket).await;
        // With HTTP/2 the connection is not ours alone, and would be taken for idle.
        drop(in_use);
    }))
}

/// JSON Schema of each message of the WebSocket.
#[utoipa::path(
    get, path = "/v1/ws/schema", operation_id = "getWebSocketSchema", tag = "events",
    responses((status = 200, description = "The schema", body = Object, content_type = "application/schema+json"))
)]
pub(super) async fn schema() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/schema+json")], include_str!("ws/schema.json"))
}
