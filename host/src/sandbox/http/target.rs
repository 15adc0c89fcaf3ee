//! Where a request goes, in the one spelling that is compared with the grants.

use std::fmt;

use hyper::http::{Method, Request};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::job::shorten;
use crate::outbound::{Place, Scheme};
use crate::sandbox::grants::HttpGrant;

/// A request's method and destination.
#[derive(Debug, Clone)]
pub(super) struct Target {
    method: Method,
    pub(super) place: Place,
}

/// A request that no grant could allow.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: Error,
    pub(super) reason: String,
}

impl Target {
    /// Reads a request. The authority has to be a host, or a host and a port, and nothing more: no user, no second spelling.
    pub(super) fn of(request: &Request<WasiBody>) -> Result<Self, Refusal> {
        let refuse = |error, reason: String| Refusal { error, reason: shorten(reason, 300) };
        let method = request.method().clone();
        // A tunnel would carry what cannot be checked.
        if method == Method::CONNECT {
            return Err(refuse(Error::HttpRequestMethodInvalid, "the method CONNECT is never granted".to_owned()));
        }
        let uri = request.uri();
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(refuse(Error::HttpProtocolError, "only http and https can be granted".to_owned())),
        };
        let text = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        match Place::parse(scheme, text) {
            Some(place) => Ok(Self { method, place }),
            None => Err(refuse(
                Error::HttpRequestUriInvalid,
                format!("{text:?} is not a host name or an address with or without a port, as grants are"),
            )),
        }
    }

    pub(super) fn is_granted_by(&self, grant: &HttpGrant) -> bool {
        let Place { scheme, host, port } = &self.place;
        grant.scheme == *scheme
            && grant.host == *host
            && grant.port() == *port
            && grant.methods.iter().any(|method| method.as_str() == self.method.as_str())
    }

    /// What an operator would have to add.
    pub(super) fn missing_grant(&self) -> Vec<String> {
        let Place { scheme, host, port } = &self.place;
        let mut lines =
            vec!["[[http]]".to_owned(), format!("scheme = \"{}\"", scheme.as_str()), format!("host = \"{host}\"")];
        if *port != scheme.default_port() {
            lines.push(format!("port = {port}"));
        }
        lines.push(format!("methods = [\"{}\"]", self.method));
        lines
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.place)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};
    use hyper::http::Uri;

    use super::*;

    fn target(uri: &str) -> Result<Target, Refusal> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let mut request = Request::new(body);
        *request.uri_mut() = uri.parse::<Uri>().expect("a URI by the loose rules");
        Target::of(&request)
    }

    #[test]
    fn one_destination_has_one_spelling() {
        for (uri, shown) in [
            ("http://a.example/x?y", "GET http://a.example:80"),
            ("https://A.Example.:443/", "GET https://a.example:443"),
            ("http://[::FFFF:127.0.0.1]:8080/", "GET http://127.0.0.1:8080"),
            ("http://[::1]/", "GET http://[::1]:80"),
        ] {
            assert_eq!(target(uri).expect("well-formed").to_string(), shown, "{uri}");
        }
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for uri in [
            "http://a.example@b.example/",
            "http://a.example:80@b.example/",
            "http://a.example:/",
            "http://a.example:080/",
            "http://a.example:0/",
            "http://a.example:65536/",
            "http://a.example:99999999999/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "ftp://a.example/",
        ] {
            assert!(target(uri).is_err(), "{uri}");
        }
    }
}
