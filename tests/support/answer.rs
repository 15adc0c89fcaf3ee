//! Requests sent and answers read, for tests that do one thing after the other.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, RequestBuilder};
use serde_json::Value;
use tokio::runtime::Runtime;

// Tests are stories told by one thread each; what is asynchronous stays in here.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime can be made")
});

static CLIENT: LazyLock<Client> =
    LazyLock::new(|| builder().timeout(Duration::from_secs(120)).build().expect("a client can be made"));

/// A client of another kind. It goes straight to the host, whatever proxy the machine has.
pub(crate) fn builder() -> ClientBuilder {
    // Needed for a client to be made at all; that it is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy()
}

/// The client of all tests. No connection goes beyond this machine.
pub(crate) fn client() -> &'static Client {
    &CLIENT
}

/// Runs something asynchronous to its end.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) version: reqwest::Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Sends a request to a host that is there.
    pub(crate) fn of(request: RequestBuilder) -> Self {
        Self::try_of(request).unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// Sends a request to a host that may be gone before it answers.
    pub(crate) fn try_of(request: RequestBuilder) -> Result<Self, reqwest::Error> {
        block_on(async {
            let response = request.send().await?;
            let (status, version, headers) =
                (response.status().as_u16(), response.version(), response.headers().clone());
            Ok(Self { status, version, headers, body: response.bytes().await?.to_vec() })
        })
    }

    /// A header's text, empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header of visible ASCII"))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}, in: {}", self.text()))
    }

    /// The refusal this must be: RFC 9457, with this status and this code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let problem = self.json();
        let kind = problem["type"].as_str().expect("a problem has a type");
        assert!(kind.rsplit([':', '/']).next() == Some(code), "{code} is not the end of {kind}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        problem
    }
}
