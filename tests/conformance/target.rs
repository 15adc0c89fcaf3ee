//! The host that is checked: the one that was named, or one of our own.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::answer::{Answer, client};
use crate::support::{Host, eventually, is_terminal};

/// A host, and how to have it do something.
pub(crate) struct Target {
    url: String,
    token: Option<String>,
    kind: String,
    input: Value,
    /// Kept running while it is checked.
    own: Option<Host>,
}

impl Target {
    /// What the environment names; else a host with a plugin of ours and a rate limit that nothing here meets.
    pub(crate) fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(format!("DROPFORGE_{name}")).ok().filter(|text| !text.is_empty());
        let input = variable("INPUT").map(|text| text.parse().expect("DROPFORGE_INPUT is JSON"));
        let kind = variable("KIND").unwrap_or_else(|| "message".to_owned());
        let input = input.unwrap_or_else(|| json!({"message": "conformance", "seconds": 0}));
        match variable("URL") {
            Some(url) => {
                Self { url: url.trim_end_matches('/').to_owned(), token: variable("TOKEN"), kind, input, own: None }
            }
            None => Self::own(kind, input),
        }
    }

    fn own(kind: String, input: Value) -> Self {
        let setup = Host::prepare().with_plugin("message").set("rate_limit", "100000/h");
        let token = Some(setup.new_token(&["--scope=submit,read"]));
        let host = setup.start();
        Self { url: host.process().address().to_owned(), token, kind, input, own: Some(host) }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &str {
        &self.url
    }

    /// Whether it is our own, with which everything may be done.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Whether it asks who somebody is.
    pub(crate) fn asks_for_tokens(&self) -> bool {
        self.token.is_some()
    }

    /// A request without a token.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        client().request(method, format!("{}{path}", self.url))
    }

    /// A request.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.with_token(self.anonymous(method, path))
    }

    /// Puts the token into a request.
    pub(crate) fn with_token(&self, request: RequestBuilder) -> RequestBuilder {
        self.token.iter().fold(request, RequestBuilder::bearer_auth)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).body(body.to_string()))
    }

    /// The body of a submit that succeeds, with more fields.
    pub(crate) fn job(&self, more: &Value) -> Value {
        let mut job = json!({"kind": self.kind, "input": self.input, "tags": ["conformance"]});
        for (name, value) in more.as_object().into_iter().flatten() {
            job[name] = value.clone();
        }
        job
    }

    /// Submits a job and answers its path.
    pub(crate) fn submit(&self, more: &Value) -> String {
        let answer = self.post("/v1/jobs", &self.job(more));
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.header("location").to_owned()
    }

    /// A job that does not start while it is looked at; cancelled when dropped.
    pub(crate) fn pending(&self) -> Pending<'_> {
        Pending { target: self, path: self.submit(&json!({"delay": "1h"})) }
    }

    /// The path of a job that has succeeded.
    pub(crate) fn finished(&self) -> String {
        let path = self.submit(&json!({}));
        let job = eventually("the job ends", || Some(self.get(&path).json()).filter(is_terminal));
        assert_eq!(job["state"], "succeeded", "{job}");
        path
    }
}

/// A job that waits for its time.
pub(crate) struct Pending<'a> {
    target: &'a Target,
    pub(crate) path: String,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        // Nobody is to find it in an hour; one that has ended already does not mind.
        let _ = Answer::try_of(self.target.request(Method::POST, &format!("{}/cancel", self.path)));
        let _ = Answer::try_of(self.target.request(Method::DELETE, &self.path));
    }
}
