//! The names this host goes by, where it asks nobody for a token.
//!
//! A page at a name of its own can have that name lead to this machine (DNS rebinding). To the browser it is then of one origin with
//! the host and may do, and read, everything; what gives it away is the name, which the browser puts into every request.

use axum::http::{HeaderMap, Uri, header};

use crate::outbound::{HostName, Place, Scheme};

/// What a host that asks for no token may be called, besides addresses, `localhost` and names without a dot.
#[derive(Debug, Clone)]
pub struct Hosts {
    named: Vec<HostName>,
    any: bool,
}

impl Hosts {
    /// These names. With `any` whatever name it is called by, unless some are named.
    pub fn new(named: &[HostName], any: bool) -> Self {
        Self { named: named.to_vec(), any: any && named.is_empty() }
    }

    /// Whether a request is meant for this host, by every name it gives. Whoever gives none is no browser.
    pub(super) fn cover(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        // HTTP/2 says it in the URI, and may say it again in the field.
        let in_uri = uri.authority().map(|authority| Some(authority.as_str()));
        let in_fields = headers.get_all(header::HOST).iter().map(|value| value.to_str().ok());
        self.any || in_uri.into_iter().chain(in_fields).all(|text| text.is_some_and(|text| self.covers(text)))
    }

    fn covers(&self, authority: &str) -> bool {
        if authority.is_empty() {
            // No browser says so.
            return true;
        }
        // The scheme gives nothing but the port, which does not matter here.
        match Place::parse(Scheme::Http, authority).map(|place| place.host) {
            // An address is looked up nowhere, so nobody can have it lead elsewhere.
            Some(HostName::Address(_)) => true,
            // Browsers do not look these up either.
            Some(HostName::Name(name)) if name.ends_with(".localhost") => true,
            // Nobody on the internet can have a name without a dot; it is this machine's, or one of a network of one's own.
            Some(HostName::Name(name)) if !name.contains('.') => true,
            Some(host) => self.named.contains(&host),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn covers(hosts: &Hosts, texts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(header::HOST, HeaderValue::try_from(*text).expect("visible"));
        }
        hosts.cover(&Uri::from_static("/"), &headers)
    }

    #[test]
    fn a_name_that_anybody_could_have_lead_here_is_not_ours() {
        let hosts = Hosts::new(&[HostName::parse("jobs.example").expect("a name")], true);
        for own in [
            &["127.0.0.1:8080"][..],
            &["[::1]:8080"],
            &["192.168.1.7"],
            &["LocalHost:8080"],
            &["localhost."],
            &["app.localhost"],
            &["dropforge:8080"],
            &[""],
            &["jobs.example"],
            &["Jobs.Example.:8443"],
            &[],
        ] {
            assert!(covers(&hosts, own), "{own:?}");
        }
        for foreign in [
            &["evil.example:8080"][..],
            &["localhost.evil.example"],
            &["127.0.0.1.evil.example"],
            &["x.jobs.example"],
            &["jobs.example@evil.example"],
            &["127.0.0.1:8080", "evil.example"],
        ] {
            assert!(!covers(&hosts, foreign), "{foreign:?}");
        }
        let in_uri = |text: &'static str| hosts.cover(&Uri::from_static(text), &HeaderMap::new());
        assert!(in_uri("http://127.0.0.1:8080/v1/jobs") && !in_uri("http://evil.example:8080/v1/jobs"));
    }

    #[test]
    fn whoever_opted_out_is_called_by_any_name_until_some_are_named() {
        assert!(covers(&Hosts::new(&[], true), &["evil.example"]));
        assert!(!covers(&Hosts::new(&[], false), &["evil.example"]));
    }
}
