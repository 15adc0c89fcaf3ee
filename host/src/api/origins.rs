//! What browsers may do: which pages of other origins may talk to this host, and what no page is ever to be let.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember what it was allowed.
const REMEMBERED_FOR: std::time::Duration = std::time::Duration::from_secs(3_600);
/// Which pages may show an answer as a part of theirs.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// An answer that is no page loads nothing, runs nothing, and is shown inside of no other.
const NO_PAGE: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Origins whose pages may talk to this host.
#[derive(Debug, Clone, Default)]
pub struct Origins(Vec<HeaderValue>);

impl Origins {
    /// Reads origins such as `https://app.example.org`, or `*` for all, and says what is wrong with one that is none.
    pub fn new(origins: &[String]) -> Result<Self, String> {
        origins.iter().map(|origin| parse(origin)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether every page may.
    pub fn are_all(&self) -> bool {
        self.0.iter().any(|origin| origin == "*")
    }

    /// Tells browsers which pages may talk to this host; nothing if none may.
    pub(super) fn layer(&self) -> Option<CorsLayer> {
        if self.0.is_empty() {
            return None;
        }
        let origin = if self.are_all() { AllowOrigin::any() } else { AllowOrigin::list(self.0.clone()) };
        let name = HeaderName::from_static;
        let asked = [
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_RANGE,
            header::RANGE,
            name("idempotency-key"),
            name("last-event-id"),
            name("prefer"),
            name("traceparent"),
        ];
        let told = [
            header::ACCEPT_RANGES,
            header::CONTENT_DISPOSITION,
            header::CONTENT_RANGE,
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            name("preference-applied"),
            name("ratelimit"),
            name("ratelimit-policy"),
        ];
        let methods = [Method::GET, Method::HEAD, Method::POST, Method::DELETE];
        let layer = CorsLayer::new().allow_origin(origin).allow_methods(methods).max_age(REMEMBERED_FOR);
        Some(layer.allow_headers(asked).expose_headers(told))
    }

    /// Whether a page of another origin sends this, which nobody allowed. A browser sends it without asking first, and on a host
    /// that asks nobody for a token being let to send is being let to do.
    pub(super) fn are_crossed_by(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        // Whoever is no browser says nothing of an origin.
        let Some(origin) = headers.get(header::ORIGIN) else { return false };
        if self.are_all() || self.0.contains(origin) {
            return false;
        }
        let authority = |text: &str| text.parse::<Authority>().ok();
        let origin = origin.to_str().ok().and_then(|text| text.split_once("://")).and_then(|(_, rest)| authority(rest));
        // HTTP/2 says it in the URI.
        let own = headers.get(header::HOST).and_then(|value| value.to_str().ok()).and_then(authority);
        let own = own.as_ref().or(uri.authority());
        // An opaque origin ("null") is nobody's.
        origin.is_none() || origin.as_ref() != own
    }
}

fn parse(origin: &str) -> Result<HeaderValue, String> {
    let parts = origin.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.parse::<Authority>().ok()?)));
    match parts {
        Some(("http" | "https", authority)) if !authority.as_str().contains('@') => {}
        _ if origin == "*" || origin == "null" => {}
        _ => return Err(format!("{origin:?} is no origin such as https://app.example.org, without a path, nor *")),
    }
    HeaderValue::try_from(origin).map_err(|error| error.to_string())
}

/// Says in every answer what a browser must not do with it. What an answer says itself stands.
pub(super) fn protect(headers: &mut HeaderMap) {
    let fields = [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
        (header::CONTENT_SECURITY_POLICY, NO_PAGE),
        // A job may change at any moment, and may be nobody else's to know. What can be revalidated says so itself.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    for (name, value) in fields {
        headers.entry(name).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_whole_and_without_a_path() {
        for origin in ["https://a.example", "http://localhost:3000", "*", "null"] {
            assert!(Origins::new(&[origin.to_owned()]).is_ok(), "{origin}");
        }
        for origin in ["", "a.example", "https://", "https://a.example/", "https://u@a.example", "ftp://a.example"] {
            assert!(Origins::new(&[origin.to_owned()]).is_err(), "{origin}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_told_from_programs_and_from_our_own() {
        let origins = Origins::new(&["https://app.example".to_owned()]).expect("valid");
        for (origin, crossed) in [
            (None, false),
            (Some("http://127.0.0.1:8080"), false),
            (Some("https://app.example"), false),
            (Some("http://evil.example"), true),
            (Some("http://127.0.0.1:8081"), true),
            (Some("null"), true),
            (Some(""), true),
        ] {
            let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("127.0.0.1:8080"))]);
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            assert_eq!(origins.are_crossed_by(&Uri::from_static("/"), &headers), crossed, "{origin:?}");
        }
    }
}
