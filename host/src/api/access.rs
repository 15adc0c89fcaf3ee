//! The door: who asks, whether they may, and that nobody gets to a job that is not theirs.
//!
//! [`Door::guard`] stands before every route, so a handler is only ever called by somebody who may do what it does to the job or the
//! kind in its path. What goes over many jobs (lists, events) is narrowed by [`Caller::sight`]; a kind that stands in a body is
//! asked for with [`Caller::require_kind`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use percent_encoding::percent_decode_str;

use super::Api;
use super::caller::Caller;
use super::jobs::parse_id;
use super::limiter::{Limiter, Who};
use super::problem::Problem;
use crate::job::Sight;
use crate::tokens::{Scope, Token};

/// Where connections become WebSockets; for these a browser asks nobody.
const WEB_SOCKET: &str = "/v1/ws";

/// Counts what goes on after a request was let through: each operation of a WebSocket is one more.
#[derive(Clone, Default)]
pub(super) struct Counter(Option<(Arc<Limiter>, Who)>);

impl Counter {
    /// Refuses whoever asks too often.
    pub(super) fn count(&self) -> Result<(), Problem> {
        match &self.0 {
            Some((limiter, who)) => limiter.count(*who).1,
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

/// The paths there are.
pub(super) type Routes = matchit::Router<&'static str>;

/// What the guard has at hand, and what it guards.
pub(super) struct Door {
    api: Arc<Api>,
    limiter: Option<Arc<Limiter>>,
    routes: Routes,
    handlers: TowerToHyperService<Router>,
}

impl Door {
    pub(super) fn new(api: &Arc<Api>, routes: Routes, handlers: Router) -> Self {
        let limiter = api.rate_limit.map(|rate| Arc::new(Limiter::new(rate)));
        Self { api: Arc::clone(api), limiter, routes, handlers: TowerToHyperService::new(handlers) }
    }

    /// The route that a request is for, if there is one.
    pub(super) fn route_of(&self, request: &Request) -> Option<&'static str> {
        self.routes.at(request.uri().path()).ok().map(|found| *found.value)
    }

    /// Lets a request through to the handler of its route, if whoever sent it may send it, and now.
    pub(super) async fn guard(&self, route: Option<&'static str>, mut request: Request) -> Response {
        let need = need(route, request.method());
        let caller = identify(&self.api, request.headers(), need);
        let (left, counted) = match self.limiter.as_ref().filter(|_| need != Need::Nothing) {
            None => (None, Ok(())),
            // Whoever guesses at tokens is counted as well.
            Some(limiter) => {
                let who = who(&caller, &request);
                request.extensions_mut().insert(Counter(Some((Arc::clone(limiter), who))));
                let (left, counted) = limiter.count(who);
                (Some(left), counted)
            }
        };
        let admitted = counted.and(caller).and_then(|caller| {
            self.admit(&caller, need, route, &request)?;
            Ok(caller)
        });
        let mut response = match admitted {
            Ok(caller) => self.answer(caller, request).await,
            Err(problem) => problem.into_response(),
        };
        if let Some(left) = left {
            left.tell(response.headers_mut());
        }
        response
    }

    /// Refuses what the token is not for, and a job that it must not see as if there were none.
    fn admit(
        &self,
        caller: &Caller,
        need: Need,
        route: Option<&'static str>,
        request: &Request,
    ) -> Result<(), Problem> {
        if caller.token.is_none() && need != Need::Nothing && !self.api.hosts.cover(request.uri(), request.headers()) {
            return Err(Problem::foreign_host());
        }
        // With a token a page shows that it was given one; without, it would act by standing on the right machine.
        let changes_nothing = matches!(*request.method(), Method::GET | Method::HEAD) && route != Some(WEB_SOCKET);
        if caller.token.is_none()
            && !changes_nothing
            && self.api.origins.are_crossed_by(request.uri(), request.headers())
        {
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
        let path = request.uri().path();
        let Ok(found) = self.routes.at(path) else { return Ok(()) };
        for (name, value) in found.params.iter() {
            // As the handler will read it. What is no text names nothing we have.
            let value = percent_decode_str(value).decode_utf8().map_err(|_| Problem::not_found(path))?;
            match name {
                "id" if path.starts_with("/v1/jobs/") => drop(caller.require_job(&self.api, parse_id(&value)?)?),
                "kind" => caller.require_kind(&value)?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn answer(&self, caller: Caller, mut request: Request) -> Response {
        let token = caller.token.clone();
        request.extensions_mut().insert(caller);
        let answer = async { self.handlers.call(request).await.unwrap_or_else(|never| match never {}) };
        let Some(token) = token else { return answer.await };
        tokio::select! {
            response = answer => until_revoked(Arc::clone(&self.api), token, response),
            // Whoever waits for a result, or still sends a body, waits or sends in vain. What was accepted stays accepted.
            () = self.api.tokens.revoked(&token) => Problem::unauthorized(true).into_response(),
        }
    }
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
