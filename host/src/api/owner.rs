//! In whose name a request comes: what is told apart when one client must not read what another one uploaded.
//!
//! Whoever checks a request leaves its [`Owner`] in the request's extensions. Where nobody does, all clients are one.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// The name under which uploads are kept. Empty without tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Owner(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Owner {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}
