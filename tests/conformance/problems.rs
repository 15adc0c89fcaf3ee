//! Refusals: RFC 9457, and the statuses of RFC 9110 they come with.

use reqwest::Method;
use serde_json::json;

use crate::Check;
use crate::support::answer::Answer;
use crate::target::Target;

pub(crate) fn checks() -> Vec<Check> {
    vec![
        Check {
            clause: "RFC 9457, 3",
            claim: "a refusal is application/problem+json with type, title, status and detail",
            check: refusals_are_problems,
        },
        Check {
            clause: "RFC 9457, 3.1.2",
            claim: "the status in a problem is that of the answer",
            check: refusals_are_problems,
        },
        Check {
            clause: "RFC 9457, 3.1.1",
            claim: "equal mistakes have equal types, which are URIs",
            check: types_are_stable,
        },
        Check {
            clause: "RFC 9457, 3.2; RFC 6901",
            claim: "a mistake in a body is pointed to",
            check: mistakes_are_pointed_to,
        },
        Check {
            clause: "RFC 9110, 15.5.6 and 10.2.1",
            claim: "a method that is not offered is 405, with what is in Allow",
            check: methods,
        },
        Check {
            clause: "RFC 9110, 15.5.2 and 11.6.1",
            claim: "a request without a token is 401 with a challenge",
            check: challenge,
        },
    ]
}

fn refusals_are_problems(target: &Target) {
    let post = |body: &'static str| Answer::of(target.request(Method::POST, "/v1/jobs").body(body));
    post("{").refused(400, "malformed");
    post("{\"kind\":\"no-such-kind-here\"}").status_is_one_of(&[403, 404]);
    target.get("/v1/jobs/00000000-0000-7000-8000-000000000000").refused(404, "unknown_job");
    target.get("/v1/nothing/here").refused(404, "not_found");
    target.get("/v1/jobs?limit=none").refused(422, "invalid_option");
}

impl Answer {
    #[track_caller]
    fn status_is_one_of(&self, statuses: &[u16]) {
        assert!(statuses.contains(&self.status), "{} {}", self.status, self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json()["status"], self.status);
    }
}

fn types_are_stable(target: &Target) {
    let of = |path: &str| target.get(path).json()["type"].as_str().expect("a type").to_owned();
    let (one, two) = (of("/v1/nothing/here"), of("/v1/nothing/there"));
    assert_eq!(one, two);
    assert!(one.split_once(':').is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty()), "{one}");
}

fn mistakes_are_pointed_to(target: &Target) {
    let problem = target.post("/v1/jobs", &target.job(&json!({"priority": "high"}))).refused(400, "malformed");
    assert_eq!(problem["errors"][0]["pointer"], "/priority", "{problem}");
}

fn methods(target: &Target) {
    let answer = Answer::of(target.request(Method::PUT, "/v1/jobs"));
    answer.refused(405, "method_not_allowed");
    let allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
    assert!(allowed.contains(&"GET") && allowed.contains(&"POST") && !allowed.contains(&"PUT"), "{allowed:?}");
}

fn challenge(target: &Target) {
    if !target.asks_for_tokens() {
        return;
    }
    let answer = Answer::of(target.anonymous(Method::GET, "/v1/jobs"));
    answer.refused(401, "unauthorized");
    assert!(answer.header("www-authenticate").starts_with("Bearer"), "{}", answer.header("www-authenticate"));
    let answer = Answer::of(target.anonymous(Method::GET, "/v1/jobs").bearer_auth("dfk_none"));
    assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""), "RFC 6750, 3.1");
}
