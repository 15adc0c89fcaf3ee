//! `GET /docs`: the document as a page to read. It is one file, asks nobody but this host for anything, and works without a network.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::content::{self, Wanted};
use super::problem::Problem;

const STYLE: &str = include_str!("docs/page.css");
const SCRIPT: &str = include_str!("docs/page.js");

/// The page as it is sent, and the policy under which it may do what it does.
struct Page {
    text: String,
    policy: HeaderValue,
    tag: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let text = include_str!("docs/page.html").replace("{style}", STYLE).replace("{script}", SCRIPT);
    let digest = |part: &str| BASE64_STANDARD.encode(Sha256::digest(part));
    // This style, this script, and a question to this host; whatever else came to stand in the page would do nothing.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        digest(STYLE),
        digest(SCRIPT)
    );
    let policy = HeaderValue::try_from(policy).expect("words and digests can stand in a header");
    Page { tag: content::entity_tag(&Sha256::digest(&text).into()), text, policy }
});

/// This document as a page to read.
#[utoipa::path(
    get, path = "/docs", operation_id = "getDocs", tag = "host", params(content::Conditions),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html", headers(("ETag"))),
        (status = 304, description = "It is what If-None-Match names", headers(("ETag"))),
        (status = 412, description = "It is not what If-Match names"),
    )
)]
pub(super) async fn get(method: Method, headers: HeaderMap) -> Result<Response, Problem> {
    let Page { text, policy, tag } = &*PAGE;
    if let Some(unchanged) = Wanted::by(&method, &headers).precondition(tag)? {
        return Ok(unchanged);
    }
    let mut response = Html(text.as_str()).into_response();
    content::protect(response.headers_mut(), tag);
    // In place of the one that lets no script run.
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    Ok(response)
}
