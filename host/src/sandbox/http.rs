//! Requests that guests send: held against what was granted, and sent only to an address that was checked.
//!
//! Each request gets a connection of its own, to an address this file has looked up and judged; nothing later looks
//! the name up again, and nothing follows a redirect. Whatever a guest leaves open ends with its attempt.

mod body;
mod send;
mod target;
mod trace;
mod wire;

use std::future::Future;
use std::sync::Arc;

use hyper::http::{HeaderValue, Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use self::target::Target;
use super::grants::{Grants, HttpGrant};
use super::held::BODY_CHUNK_BYTES;
use super::reach::{CONNECTIONS_MAX, Denials, Traffic};

type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

/// The field that carries a trace on.
const TRACEPARENT: &str = "traceparent";

/// One attempt's requests.
pub(super) struct Requests {
    grants: Arc<Grants>,
    denials: Arc<Denials>,
    traffic: Arc<Traffic>,
    connections: Arc<Semaphore>,
    /// What requests carry that name no trace themselves.
    traceparent: Option<HeaderValue>,
}

impl Requests {
    /// `connections` are those the attempt may still make, whoever makes them.
    pub(super) fn new(
        grants: Arc<Grants>,
        denials: Arc<Denials>,
        traffic: Arc<Traffic>,
        connections: Arc<Semaphore>,
    ) -> Self {
        Self { grants, denials, traffic, connections, traceparent: None }
    }

    /// Lets the trace that a job was submitted with go on in what its attempt sends, below this span.
    pub(super) fn go_on_with(&mut self, parent: &str, span: u64) {
        self.traceparent = trace::child_of(parent, span);
    }

    /// What grants a request, or why it is refused.
    fn granted(&self, request: &Request<WasiBody>) -> Result<(Target, HttpGrant, OwnedSemaphorePermit), Error> {
        let target = Target::of(request).map_err(|refusal| {
            self.denials.refuse(&refusal.reason);
            refusal.error
        })?;
        let Some(grant) = self.grants.http.iter().find(|grant| target.is_granted_by(grant)) else {
            self.denials.explain(&target.to_string(), &target.missing_grant());
            return Err(Error::HttpRequestDenied);
        };
        // Taken now: a crowd of requests must not be let in before the first of them has connected.
        let Ok(connection) = Arc::clone(&self.connections).try_acquire_owned() else {
            self.denials.refuse(&format!("{target}: {CONNECTIONS_MAX} connections are open, which is the most"));
            return Err(Error::ConnectionLimitReached);
        };
        Ok((target, grant.clone(), connection))
    }
}

impl WasiHttpHooks for Requests {
    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _outcome: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let granted = self.granted(&request);
        // A guest that traces knows its own spans better.
        if let Some(traceparent) = self.traceparent.as_ref().filter(|_| !request.headers().contains_key(TRACEPARENT)) {
            request.headers_mut().insert(TRACEPARENT, traceparent.clone());
        }
        let (denials, traffic) = (Arc::clone(&self.denials), Arc::clone(&self.traffic));
        Box::new(async move {
            let (target, grant, connection) = granted?;
            send::send(request, options.unwrap_or_default(), target, &grant, &denials, traffic, connection).await
        })
    }

    // Kept for the guest, also where nobody takes it, for as long as it holds the request.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    // What goes wrong with a guest's connections is told to the guest; the host's own log is not its diary.
    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        tracing::debug!(%error, "a guest's request failed");
        if error.is_timeout() { ErrorCode::HttpResponseTimeout } else { ErrorCode::HttpProtocolError }
    }
}
