//! Idempotency keys: what a client may give as one, and what the store knows it by.

use axum::http::HeaderMap;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use crate::api::problem::Problem;
use crate::job::Owner;

/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 255;

/// The field [`idempotency_key`] reads.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes a request and is never made")]
pub(in crate::api) struct Keyed {
    /// The same key and request is the same job, also across restarts; bare or in double quotes.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

/// The digest of the client's key, which may be given bare or as a quoted string.
pub(in crate::api) fn idempotency_key(headers: &HeaderMap) -> Result<Option<[u8; 32]>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    digest_of_key(value.to_str().unwrap_or_default().trim()).map(Some)
}

/// The digest of a client's key, given in whatever way.
pub(in crate::api) fn digest_of_key(text: &str) -> Result<[u8; 32], Problem> {
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if bare.is_empty() || bare.len() > KEY_BYTES_MAX {
        let detail = format!("it has 1 to {KEY_BYTES_MAX} visible ASCII characters, bare or in double quotes");
        let problem = Problem::malformed(format!("the Idempotency-Key field: {detail}"));
        return Err(problem.in_parameter("Idempotency-Key", detail));
    }
    Ok(Sha256::digest(bare).into())
}

/// A key as the store knows it: everybody has keys of their own.
pub(super) fn key_of(owner: Option<Owner>, name: [u8; 32]) -> [u8; 32] {
    match owner {
        Some(owner) => Sha256::new_with_prefix(owner.to_string()).chain_update(name).finalize().into(),
        None => name,
    }
}
