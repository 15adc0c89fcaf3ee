//! The door: who asks, whether they may, and that nobody gets to a job that is not theirs.
//!
//! [`guard`] stands before every route, so a handler is only ever called by somebody who may do what it does to the job or the
//! kind in its path. What goes over many jobs (lists, events) is narrowed by [`Caller::sight`]; a kind that stands in a body is
//! asked for with [`Caller::require_kind`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::RequestExt;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

use super::Api;
use super::jobs::parse_id;
use super::limiter::{Limiter, Who};
use super::problem::Problem;
use crate::job::{Job, JobId, Kind, Owner, Sight};
use crate::tokens::{Scope, Token};

/// Whoever sent a request: the holder of a token or, where none is needed, anybody.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    token: Option<Arc<Token>>,
    sight: Sight,
}

impl Caller {
    fn new(token: Option<Arc<Token>>) -> Self {
        let sight = token.as_ref().map(|token| token.sight()).unwrap_or_default();
        Self { token, sight }
    }

    /// Whose the jobs are that they submit.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.token.as_ref().map(|token| token.id)
    }

    /// The name under which their uploads are kept. Without tokens all clients are one.
    pub(super) fn uploader(&self) -> String {
        self.owner().map(|owner| owner.to_string()).unwrap_or_default()
    }

    /// Whether they see everybody's uploads, and those from before there were tokens, which are nobody's.
    pub(super) fn sees_all_uploads(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.may(Scope::Admin)) && self.sight.kinds.is_none()
    }

    /// Which jobs and kinds they may see.
    pub(super) fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Refuses those whose token is not for this.
    pub(super) fn require(&self, scope: Scope) -> Result<(), Problem> {
        match &self.token {
            Some(token) if !token.may(scope) => Err(Problem::missing_scope(scope.as_str())),
            _ => Ok(()),
        }
    }

    /// Refuses those whose token is for other kinds.
    pub(super) fn require_kind(&self, name: &str) -> Result<(), Problem> {
        let sees = self.sight.kinds.is_none() || Kind::new(name).is_some_and(|kind| self.sight.covers_kind(&kind));
        if sees { Ok(()) } else { Err(Problem::foreign_kind(name)) }
    }

    /// A job, unless it is one they must not see, which is as if it were not there.
    pub(super) fn require_job(&self, api: &Api, id: JobId) -> Result<Job, Problem> {
        let job = api.queue.get(id)?;
        if self.sight.covers_job(&job) { Ok(job) } else { Err(Problem::unknown_job()) }
    }

    /// Returns once their token is revoked; never, if they need none.
    pub(super) async fn revoked(&self, api: &Api) {
        match &self.token {
            Some(token) => api.tokens.revoked(token).await,
            None => std::future::pending().await,
        }
    }

    /// Whether they may see a plugin file. One that is no kind's is for those who see all kinds.
    pub(super) fn may_see_file(&self, kind: Option<&Kind>) -> bool {
        kind.map_or(self.sight.kinds.is_none(), |kind| self.sight.covers_kind(kind))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Every route stands behind the guard; one that did not would serve nobody rather than everybody.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Problem::internal("nobody asked who this is"))
    }
}

/// Where connections become WebSockets; for these a browser asks nobody.
const WEB_SOCKET: &str = "/v1/ws";

/// Counts what goes on after a request was let through: each operation of a WebSocket is one more.
#[derive(Clone, Default)]
pub(super) struct Counter(Option<(Arc<Door>, Who)>);

impl Counter {
    /// Refuses whoever asks too often.
    pub(super) fn count(&self) -> Result<(), Problem> {
        match &self.0 {
            Some((door, who)) => door.limiter.as_ref().map_or(Ok(()), |limiter| limiter.count(*who).1),
            None => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Counter {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: it shows nothing of jobs or kinds.
    Nothing,
    /// To be known.
    Token,
    /// A token that is for this.
    Scope(Scope),
    /// A token that is for this and for all kinds.
    AllKinds(Scope),
}

/// What a request to a route needs.
pub(super) fn need(path: Option<&str>, method: &Method) -> Need {
    match path {
        // For those who look after the host, and pages that are the same everywhere.
        Some("/healthz" | "/readyz" | "/" | "/docs" | "/v1/ws/schema") => Need::Nothing,
        // What may be asked there depends on each message.
        Some(WEB_SOCKET) => Need::Token,
        Some("/metrics") => Need::AllKinds(Scope::Read),
        Some("/v1/kinds/{kind}/pause" | "/v1/kinds/{kind}/resume") => Need::Scope(Scope::Admin),
        Some(_) if matches!(*method, Method::GET | Method::HEAD) => Need::Scope(Scope::Read),
        Some(_) => Need::Scope(Scope::Submit),
        None => Need::Token,
    }
}

/// What the guard has at hand.
pub(super) struct Door {
    api: Arc<Api>,
    limiter: Option<Limiter>,
}

impl Door {
    pub(super) fn new(api: &Arc<Api>) -> Self {
        Self { api: Arc::clone(api), limiter: api.rate_limit.map(Limiter::new) }
    }
}

/// Lets a request through to its route, if whoever sent it may send it, and now.
pub(super) async fn guard(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let need = need(path.as_ref().map(MatchedPath::as_str), request.method());
    let caller = identify(&door.api, request.headers(), need);
    let Some(limiter) = door.limiter.as_ref().filter(|_| need != Need::Nothing) else {
        return answer(&door.api, caller, need, path, request, next).await;
    };
    // Whoever guesses at tokens is counted as well.
    let who = who(&caller, &request);
    let (left, counted) = limiter.count(who);
    request.extensions_mut().insert(Counter(Some((Arc::clone(&door), who))));
    let mut response = match counted {
        Ok(()) => answer(&door.api, caller, need, path, request, next).await,
        Err(too_many) => too_many.into_response(),
    };
    left.tell(response.headers_mut());
    response
}

fn who(caller: &Result<Caller, Problem>, request: &Request) -> Who {
    match caller.as_ref().ok().and_then(Caller::owner) {
        Some(owner) => Who::Token(owner),
        None => {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
            Who::at(peer.map(|ConnectInfo(peer)| peer.ip()))
        }
    }
}

async fn answer(
    api: &Arc<Api>,
    caller: Result<Caller, Problem>,
    need: Need,
    path: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = path.as_ref().map(MatchedPath::as_str);
    let caller = match caller {
        Ok(caller) => admit(api, &caller, need, path, &mut request).await.map(|()| caller),
        refused => refused,
    };
    let caller = match caller {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let token = caller.token.clone();
    request.extensions_mut().insert(caller);
    let Some(token) = token else { return next.run(request).await };
    tokio::select! {
        response = next.run(request) => until_revoked(Arc::clone(api), token, response),
        // Whoever waits for a result, or still sends a body, waits or sends in vain. What was accepted stays accepted.
        () = api.tokens.revoked(&token) => Problem::unauthorized(true).into_response(),
    }
}

fn identify(api: &Api, headers: &HeaderMap, need: Need) -> Result<Caller, Problem> {
    if need == Need::Nothing || !api.tokens.are_required() {
        return Ok(Caller::new(None));
    }
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let text =
        shown.and_then(|shown| shown.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = text.and_then(|(_, text)| api.tokens.find(text.trim()));
    token.map(|token| Caller::new(Some(token))).ok_or_else(|| Problem::unauthorized(text.is_some()))
}

/// Refuses what the token is not for, and a job that it must not see as if there were none.
async fn admit(
    api: &Api,
    caller: &Caller,
    need: Need,
    path: Option<&str>,
    request: &mut Request,
) -> Result<(), Problem> {
    if caller.token.is_none() && need != Need::Nothing && !api.hosts.cover(request.uri(), request.headers()) {
        return Err(Problem::foreign_host());
    }
    // With a token a page shows that it was given one; without, it would act by standing on the right machine.
    let changes_nothing = matches!(*request.method(), Method::GET | Method::HEAD) && path != Some(WEB_SOCKET);
    if caller.token.is_none() && !changes_nothing && api.origins.are_crossed_by(request.uri(), request.headers()) {
        return Err(Problem::foreign_origin());
    }
    match need {
        Need::Nothing | Need::Token => {}
        Need::Scope(scope) => caller.require(scope)?,
        Need::AllKinds(scope) => {
            caller.require(scope)?;
            if caller.sight.kinds.is_some() {
                return Err(Problem::foreign_kind("*"));
            }
        }
    }
    if caller.sight == Sight::default() {
        return Ok(());
    }
    if !path.is_some_and(|path| path.contains('{')) {
        return Ok(());
    }
    // What is no text names nothing we have.
    let segments = request.extract_parts::<RawPathParams>().await;
    let segments = segments.map_err(|_| Problem::not_found(request.uri().path()))?;
    for (name, value) in &segments {
        match name {
            "id" if path.is_some_and(|path| path.starts_with("/v1/jobs/")) => {
                caller.require_job(api, parse_id(value)?)?;
            }
            "kind" => caller.require_kind(value)?,
            _ => {}
        }
    }
    Ok(())
}

/// An answer that goes on for as long as somebody listens, or takes what lies in a file, ends with the token it was given for. If its
/// length was told, the connection breaks off, so that nobody takes the part for the whole.
fn until_revoked(api: Arc<Api>, token: Arc<Token>, response: Response) -> Response {
    // All of it is in memory, and little.
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        let revoked = Box::pin(async move { api.tokens.revoked(&token).await });
        Body::from_stream(body.into_data_stream().take_until(revoked))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_needs_more_than_reading() {
        for (path, method, expected) in [
            ("/healthz", Method::GET, Need::Nothing),
            ("/docs", Method::GET, Need::Nothing),
            // It names kinds.
            ("/openapi.json", Method::GET, Need::Scope(Scope::Read)),
            ("/v1/jobs", Method::GET, Need::Scope(Scope::Read)),
            ("/v1/jobs", Method::HEAD, Need::Scope(Scope::Read)),
            ("/v1/jobs", Method::POST, Need::Scope(Scope::Submit)),
            ("/v1/jobs/{id}", Method::DELETE, Need::Scope(Scope::Submit)),
            ("/v1/kinds/{kind}/pause", Method::POST, Need::Scope(Scope::Admin)),
            ("/v1/anything/new", Method::PUT, Need::Scope(Scope::Submit)),
        ] {
            assert_eq!(need(Some(path), &method), expected, "{method} {path}");
        }
        assert_eq!(need(None, &Method::GET), Need::Token);
    }
}
