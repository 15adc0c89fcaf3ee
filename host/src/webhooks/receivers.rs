//! Where webhooks may go: URLs in one spelling, held against what the operator allows.

use hyper::http::Uri;
use serde::{Deserialize, Serialize};

use crate::job::WEBHOOK_URL_BYTES_MAX;
use crate::outbound::{HostName, Place, Scheme};

/// Somebody who may be told how jobs end, spelt as the places that guests may reach are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// `https` unless it says otherwise.
    #[serde(default)]
    pub scheme: Scheme,
    /// A name, which is matched whole, or an address.
    pub host: HostName,
    /// The scheme's own unless it says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether the name may lead to an address that is not public. An address that is named itself is allowed as it is.
    #[serde(default)]
    pub private: bool,
}

impl Receiver {
    fn is(&self, place: &Place) -> bool {
        let port = self.port.unwrap_or(self.scheme.default_port());
        self.scheme == place.scheme && self.host == place.host && port == place.port
    }
}

/// A webhook's URL, taken apart.
#[derive(Debug)]
pub(super) struct Url {
    pub(super) place: Place,
    /// Its path and query, as they are sent.
    pub(super) path: String,
}

impl Url {
    /// Reads a URL, or says what is wrong with it without repeating it: it may hold a secret.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let malformed = || "it is no URL such as https://hooks.example.org/done, without user and fragment".to_owned();
        if text.len() > WEBHOOK_URL_BYTES_MAX {
            return Err(format!("it has {} bytes; {WEBHOOK_URL_BYTES_MAX} is the most", text.len()));
        }
        // A fragment would be cut off without a word.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) || text.contains('#') {
            return Err(malformed());
        }
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(malformed()),
        };
        let place = uri.authority().and_then(|authority| Place::parse(scheme, authority.as_str()));
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self { place: place.ok_or_else(malformed)?, path: format!("{}{query}", uri.path()) })
    }
}

/// The receiver that allows this place, or what an operator would have to add.
pub(super) fn allowing<'a>(receivers: &'a [Receiver], place: &Place) -> Result<&'a Receiver, String> {
    receivers.iter().find(|receiver| receiver.is(place)).ok_or_else(|| {
        let Place { scheme, host, port } = place;
        let port = if *port == scheme.default_port() { String::new() } else { format!(", port = {port}") };
        let scheme = scheme.as_str();
        format!(
            "the setting webhooks of this host does not name {place}; its operator can add \
             {{scheme = \"{scheme}\", host = \"{host}\"{port}}} to it"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_its_path_is_sent_as_it_is() {
        for (text, place, path) in [
            ("https://a.example/x?y=1&z=%20", "https://a.example:443", "/x?y=1&z=%20"),
            ("HTTP://A.Example.:8080", "http://a.example:8080", "/"),
            ("http://a.example?x", "http://a.example:80", "/?x"),
            ("http://[::FFFF:127.0.0.1]:81/", "http://127.0.0.1:81", "/"),
        ] {
            let url = Url::parse(text).expect("well-formed");
            assert_eq!((url.place.to_string().as_str(), url.path.as_str()), (place, path), "{text}");
        }
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for text in [
            "",
            "x",
            "/x",
            "a.example/x",
            "ftp://a.example/",
            "http:///x",
            "http://user@a.example/",
            "http://user:word@a.example/",
            "http://a.example:80@b.example/",
            "http://a.example:/",
            "http://a.example:0/",
            "http://a.example:080/",
            "http://a.example/#x",
            "http://a.example/ x",
            "http://a.example/\r\nx",
            "http://a.example/ü",
            "http://ä.example/",
            "http://127.1/",
            "http://0x7f.0.0.1/",
            "http://2130706433/",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
        let of_length = |length: usize| format!("http://a.example/{}", "x".repeat(length - 17));
        assert!(Url::parse(&of_length(WEBHOOK_URL_BYTES_MAX)).is_ok());
        assert!(Url::parse(&of_length(WEBHOOK_URL_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_receiver_allows_its_scheme_host_and_port_and_nothing_else() {
        let port = Some(8443);
        let host = HostName::parse("a.example").expect("a name");
        let receivers = [Receiver { scheme: Scheme::Https, host, port, private: false }];
        let allows = |text| allowing(&receivers, &Url::parse(text).expect("well-formed").place).map(drop);
        assert_eq!(allows("https://A.example.:8443/x"), Ok(()));
        for text in
            ["http://a.example:8443/", "https://a.example/", "https://b.a.example:8443/", "https://example:8443/"]
        {
            assert!(allows(text).is_err_and(|why| why.contains("webhooks")), "{text}");
        }
    }
}
