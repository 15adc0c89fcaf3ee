//! The address of a host, as people type it.

use std::net::IpAddr;

use reqwest::Url;

use super::ClientError;

/// Where the host is that this means.
pub(super) fn parse(typed: &str) -> Result<Url, ClientError> {
    let wrong = |reason: String| ClientError::Address(typed.to_owned(), reason);
    let url = with_scheme(typed).map_err(|reason| wrong(reason.to_owned()))?;
    let url = Url::parse(&url).map_err(|error| wrong(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("neither http nor https".to_owned()));
    }
    Ok(without_version(url))
}

/// The address of a host, also where that of its API was given: every path of it begins with the version.
fn without_version(mut url: Url) -> Url {
    let last = |url: &Url| url.path_segments()?.rfind(|segment| !segment.is_empty()).map(str::to_owned);
    if last(&url).as_deref() == Some("v1")
        && let Ok(mut segments) = url.path_segments_mut()
    {
        segments.pop_if_empty().pop();
    }
    url
}

/// An address as people type it. To this machine itself one speaks `http`; anywhere else it matters too much to be guessed.
fn with_scheme(url: &str) -> Result<String, &'static str> {
    if url.is_empty() {
        return Err("it is empty");
    }
    if url.contains("://") {
        return Ok(url.to_owned());
    }
    let guessed = format!("http://{url}");
    let is_here = Url::parse(&guessed).ok().and_then(|url| {
        let host = url.host_str()?.trim_matches(['[', ']']);
        Some(host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
    });
    if is_here == Some(true) { Ok(guessed) } else { Err("it must begin with http:// or https://") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_api_is_that_of_its_host() {
        for (typed, meant) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("localhost:8080/v1", "http://localhost:8080/"),
            ("https://example.org/v1/", "https://example.org/"),
            ("https://example.org/jobs/v1", "https://example.org/jobs"),
            ("https://example.org/v1/jobs", "https://example.org/v1/jobs"),
        ] {
            assert_eq!(parse(typed).expect("an address").as_str(), meant);
        }
        for typed in ["", "example.org", "ftp://127.0.0.1"] {
            assert!(parse(typed).is_err(), "{typed}");
        }
    }
}
