//! A client of the HTTP interface, as any program might have one: the command line and the demo use it.
//!
//! It knows nothing of the host but what `GET /openapi.json` would tell anybody. Answers stay the text they were, so that
//! `--json` can pass them on unchanged; what people are shown is read from them with [`JobView`] and its like.

mod address;
mod events;
mod files;
mod patience;
mod secure;
pub mod view;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::AUTHORIZATION;
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

pub use self::events::{Event, EventStream, Seen};
pub use self::files::{NewFile, check_file, check_folder, path_in};
pub use self::patience::{PATIENCE, Patience};
pub use self::secure::Trouble;
pub use self::view::{JobView, ProgressView};

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Refusals are small; of anything larger only the beginning is looked at.
const REFUSAL_BYTES_MAX: usize = 1 << 20;

/// Why a host did not do what it was asked for.
#[derive(Debug)]
pub enum ClientError {
    /// What was given cannot be the address of a host, for this reason.
    Address(String, String),
    /// Nobody answers at this address, nobody who can be trusted, or the connection broke.
    Unreachable(String, Trouble),
    /// The host refused, and said why.
    Refused(Box<Refusal>),
    /// What answers at this address is no Dropforge host, or one with another contract.
    NotUnderstood(String, String),
    /// Something could not be done with a file of this machine.
    File(String, std::io::Error),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(url, reason) => write!(f, "{url:?} is no address of a host: {reason}"),
            Self::Unreachable(url, trouble @ Trouble::Other(_)) => write!(f, "no host answers at {url}: {trouble}"),
            Self::Unreachable(url, trouble) => write!(f, "the host at {url} cannot be talked to: {trouble}"),
            Self::Refused(refusal) => write!(f, "{}: {}", refusal.title, refusal.detail),
            Self::NotUnderstood(url, reason) => write!(f, "the answer of {url} cannot be understood: {reason}"),
            Self::File(what, error) => write!(f, "cannot {what}: {error}"),
        }
    }
}

impl std::error::Error for ClientError {}

impl ClientError {
    /// Whether a host that is being started again is met like this.
    pub fn may_be_a_restart(&self) -> bool {
        match self {
            Self::Unreachable(..) => true,
            Self::Refused(refusal) => refusal.status == 503 && refusal.code == "stopping",
            _ => false,
        }
    }
}

/// A problem document (RFC 9457), as far as people are shown it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Stable word for programs.
    pub code: String,
    /// The same in a few words for people.
    pub title: String,
    /// What exactly, and what to do.
    pub detail: String,
    /// Each mistake, and where it is.
    pub errors: Vec<Mistake>,
    /// Seconds after which to try again.
    #[serde(skip)]
    pub retry_after: Option<u64>,
    /// What was asked about: the path's segments behind `/v1`, such as `jobs` and an id.
    #[serde(skip)]
    pub path: Vec<String>,
    /// The document as it came.
    #[serde(skip)]
    pub document: String,
}

/// One mistake in a request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Mistake {
    /// JSON Pointer into the body.
    pub pointer: Option<String>,
    /// Name of a query parameter or a header.
    pub parameter: Option<String>,
    /// What is wrong there.
    pub detail: String,
}

/// Talks to one host.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: Url,
    token: Option<String>,
    patience: Duration,
}

impl Client {
    /// A client of the host at this address. Nothing is sent yet.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, ClientError> {
        let url = address::parse(url)?;
        // The first one counts, and all of this program are the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A host is named by the user; a proxy from the environment would be asked for 127.0.0.1 too.
        let builder = || reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_MAX);
        let http = secure::build(builder, url.scheme())?;
        let http =
            http.map_err(|error| ClientError::Unreachable(url.to_string(), Trouble::of_builder(root_cause(&error))))?;
        Ok(Self { http, url, token, patience: PATIENCE })
    }

    /// The same client, which waits for so long for a host that is away.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// For a new follower of this host.
    pub fn patience(&self) -> Patience {
        Patience::new(self.patience)
    }

    /// Where the host is.
    pub fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// A request whose path has these segments; what is special in them is escaped.
    pub fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        self.request_with(method, segments, &[])
    }

    /// A request with a query.
    pub fn request_with(&self, method: Method, segments: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.url.clone();
        url.path_segments_mut().expect("http and https have paths").pop_if_empty().extend(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    /// Sends a request; anything but success is an error.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.not_sent(&error).await),
        };
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    /// Sends a request and answers the text of the answer.
    pub async fn text(&self, request: RequestBuilder) -> Result<String, ClientError> {
        let response = self.send(request).await?;
        response.text().await.map_err(|error| self.unreachable(&error))
    }

    /// Reads an answer.
    pub fn parse<'a, T: Deserialize<'a>>(&self, answer: &'a str) -> Result<T, ClientError> {
        serde_json::from_str(answer)
            .map_err(|error| ClientError::NotUnderstood(self.url().to_owned(), error.to_string()))
    }

    /// Submits an input with a query of options and parameters; answers the job as text.
    pub async fn submit(
        &self,
        kind: &str,
        query: &[(&str, &str)],
        media_type: Option<&str>,
        key: Option<&str>,
        input: impl Into<Body>,
    ) -> Result<String, ClientError> {
        let mut request = self.request_with(Method::POST, &["v1", "kinds", kind, "jobs"], query).body(input);
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.text(request).await
    }

    /// A job as text.
    pub async fn job(&self, id: &str) -> Result<String, ClientError> {
        self.text(self.request(Method::GET, &["v1", "jobs", id])).await
    }

    /// The output of a finished job, or nothing while there is none yet.
    pub async fn result(&self, id: &str) -> Result<Option<Response>, ClientError> {
        let response = self.send(self.request(Method::GET, &["v1", "jobs", id, "result"])).await?;
        Ok((response.status() == StatusCode::OK).then_some(response))
    }

    /// The next piece of a body.
    pub async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, ClientError> {
        response.chunk().await.map_err(|error| self.unreachable(&error))
    }

    /// Whether the host has looked at every plugin file and takes jobs.
    pub async fn is_ready(&self) -> Result<bool, ClientError> {
        let response = self.request(Method::GET, &["readyz"]).send().await;
        Ok(response.map_err(|error| self.unreachable(&error))?.status().is_success())
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable(self.url().to_owned(), Trouble::of(self.url.scheme(), root_cause(error)))
    }

    /// Why a request got no answer. One in clear text may have met with somebody who speaks TLS.
    async fn not_sent(&self, error: &reqwest::Error) -> ClientError {
        if self.url.scheme() == "http" && secure::may_be_tls(&root_cause(error)) && self.speaks_tls().await {
            return ClientError::Unreachable(self.url().to_owned(), Trouble::OnlyTls);
        }
        self.unreachable(error)
    }

    async fn speaks_tls(&self) -> bool {
        let mut url = self.url.clone();
        // Any certificate will do, and any answer: only whether there is a handshake counts.
        if url.set_scheme("https").is_err() {
            return false;
        }
        match self.http.head(url).timeout(secure::HANDSHAKE_MAX).send().await {
            Ok(_) => true,
            Err(error) => !matches!(Trouble::of("https", root_cause(&error)), Trouble::Other(_) | Trouble::NoTls),
        }
    }

    /// Reads a refusal. Whatever else answers there, such as a proxy, is quoted.
    async fn refused(&self, mut response: Response) -> ClientError {
        let status = response.status();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let before = self.url.path_segments().into_iter().flatten().filter(|segment| !segment.is_empty()).count();
        let path = response.url().path_segments().into_iter().flatten().skip(before + 1);
        let path = path.map(str::to_owned).collect();
        let mut body = Vec::new();
        while body.len() < REFUSAL_BYTES_MAX
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        let document = String::from_utf8_lossy(&body).into_owned();
        match serde_json::from_str::<Refusal>(&document) {
            Ok(refusal) if !refusal.code.is_empty() => {
                ClientError::Refused(Box::new(Refusal { retry_after, path, document, ..refusal }))
            }
            _ => {
                let beginning: String = document.chars().take(200).collect();
                let reason = format!("status {status}, and not in the words of a Dropforge host: {beginning:?}");
                ClientError::NotUnderstood(self.url().to_owned(), reason)
            }
        }
    }
}

/// The innermost cause: the outer ones repeat the address or say "error sending request".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
