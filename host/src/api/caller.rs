//! Whoever sent a request, and what they may see and do.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::Api;
use super::problem::Problem;
use crate::job::{Job, JobId, Kind, Owner, Sight};
use crate::tokens::{Scope, Token};

/// Whoever sent a request: the holder of a token or, where none is needed, anybody.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) token: Option<Arc<Token>>,
    pub(super) sight: Sight,
}

impl Caller {
    pub(super) fn new(token: Option<Arc<Token>>) -> Self {
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
