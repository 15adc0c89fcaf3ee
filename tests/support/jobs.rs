//! What stories do with jobs: submit them, wait for them, look at what came of them.

use reqwest::Method;
use serde_json::{Value, json};

use super::answer::Answer;
use super::{Host, accepted, eventually, is_terminal};

impl Host {
    /// `POST /v1/jobs` of this body, whatever comes of it.
    pub(crate) fn post_job(&self, body: &Value) -> Answer {
        self.post("/v1/jobs", body.to_string())
    }

    /// Submits a job, with options if the body has them, and answers its id.
    pub(crate) fn submit_job(&self, body: Value) -> String {
        accepted(&self.post_job(&body))
    }

    /// Submits a job with nothing but an input, and answers its id.
    pub(crate) fn submit(&self, kind: &str, input: Value) -> String {
        self.submit_job(json!({"kind": kind, "input": input}))
    }

    /// Submits a file as `curl --data-binary` does, with options in the query, and answers the job's id.
    pub(crate) fn submit_raw(&self, kind_and_query: &str, body: impl Into<reqwest::Body>) -> String {
        let (kind, query) = kind_and_query.split_once('?').unwrap_or((kind_and_query, ""));
        accepted(&self.post(&format!("/v1/kinds/{kind}/jobs?{query}"), body))
    }

    /// The job as it is now.
    pub(crate) fn job(&self, id: &str) -> Value {
        let answer = self.get(&format!("/v1/jobs/{id}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The job as it is now, unless the host is gone.
    pub(crate) fn try_job(&self, id: &str) -> Option<Value> {
        let answer = Answer::try_of(self.request(Method::GET, &format!("/v1/jobs/{id}"))).ok()?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Some(answer.json())
    }

    /// The job once it is as wanted.
    pub(crate) fn wait_until(&self, id: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("job {id} {what}"), || Some(self.job(id)).filter(&wanted))
    }

    /// The job once it is in this state.
    pub(crate) fn wait_for(&self, id: &str, state: &str) -> Value {
        self.wait_until(id, state, |job| {
            assert!(job["state"] == *state || !is_terminal(job), "waiting for {state}: {job}");
            job["state"] == *state
        })
    }

    /// The job once it has ended.
    pub(crate) fn wait(&self, id: &str) -> Value {
        self.wait_until(id, "ended", is_terminal)
    }

    /// The failure of a job that fails.
    pub(crate) fn failure(&self, id: &str) -> Value {
        self.wait_for(id, "failed")["failure"].clone()
    }

    /// `GET …/result`
    pub(crate) fn result(&self, id: &str) -> Answer {
        self.get(&format!("/v1/jobs/{id}/result"))
    }

    /// The result of a job that succeeds.
    pub(crate) fn output(&self, id: &str) -> Vec<u8> {
        self.wait_for(id, "succeeded");
        let result = self.result(id);
        assert_eq!(result.status, 200, "{}", result.text());
        result.body
    }

    /// Cancels a job and answers it.
    pub(crate) fn cancel(&self, id: &str) -> Value {
        let answer = self.post(&format!("/v1/jobs/{id}/cancel"), "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The list of a job's artifacts.
    pub(crate) fn artifacts(&self, id: &str) -> Vec<Value> {
        let list = self.get(&format!("/v1/jobs/{id}/artifacts")).json();
        list["artifacts"].as_array().expect("a list").clone()
    }

    /// Has a guest of the sort of [`guest::probe`](super::guest::probe) try these things, and answers what came of each.
    pub(crate) fn probe(&self, kind: &str, tries: &[&str]) -> Vec<String> {
        let id = self.submit_raw(kind, tries.join("\n"));
        let answer = String::from_utf8(self.output(&id)).expect("it answers in text");
        answer.split('\n').map(str::to_owned).collect()
    }
}
