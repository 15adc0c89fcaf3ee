//! Rate limits: draft-ietf-httpapi-ratelimit-headers and RFC 6585.

use std::time::Duration;

use crate::Check;
use crate::support::Host;
use crate::target::Target;

pub(crate) fn checks() -> Vec<Check> {
    vec![
        Check {
            clause: "draft ratelimit-headers, 3 and 4",
            claim: "where there is a limit, answers say which, and what is left of it",
            check: fields,
        },
        Check {
            clause: "RFC 6585, 4; RFC 9110, 10.2.3",
            claim: "beyond the limit is 429, and after its Retry-After it is not",
            check: beyond_the_limit,
        },
    ]
}

/// The whole numbers of a field that has one item with parameters: `"name";q=1;w=2`.
fn parameters(field: &str) -> Vec<(String, u64)> {
    let mut parts = field.split(';');
    let name = parts.next().unwrap_or_default();
    assert!(name.len() > 2 && name.starts_with('"') && name.ends_with('"'), "{field}");
    let number = |part: &str| {
        let (name, value) = part.split_once('=').expect("a name and a value");
        (name.trim().to_owned(), value.parse().expect("a whole number"))
    };
    parts.map(number).collect()
}

fn fields(target: &Target) {
    let answer = target.get("/v1/kinds");
    if answer.header("ratelimit-policy").is_empty() {
        assert!(!target.is_own(), "our own host has a limit");
        assert_eq!(answer.header("ratelimit"), "", "one without the other");
        return;
    }
    let (policy, left) = (parameters(answer.header("ratelimit-policy")), parameters(answer.header("ratelimit")));
    let value = |list: &[(String, u64)], name: &str| list.iter().find(|(own, _)| own == name).map(|(_, value)| *value);
    let (quota, window) = (value(&policy, "q").expect("a quota"), value(&policy, "w").expect("a window"));
    assert!(quota > 0 && window > 0 && value(&left, "r").is_some_and(|left| left < quota));
    assert!(value(&left, "t").is_some_and(|reset| reset <= window), "{left:?}");
    let name = |field: &str| field.split(';').next().map(str::to_owned);
    assert_eq!(name(answer.header("ratelimit-policy")), name(answer.header("ratelimit")));
}

fn beyond_the_limit(target: &Target) {
    // Nobody else's host is to be flooded.
    if !target.is_own() {
        return;
    }
    let host = Host::prepare().set("rate_limit", "2/s").start();
    let refused = (0..500).map(|_| host.get("/v1/kinds")).find(|answer| answer.status != 200);
    let refused = refused.expect("500 requests meet a limit of 2 a second");
    refused.refused(429, "too_many_requests");
    let seconds: u64 = refused.header("retry-after").parse().expect("whole seconds");
    // This is what the answer asks for, and it has to be enough.
    std::thread::sleep(Duration::from_secs(seconds));
    assert_eq!(host.get("/v1/kinds").status, 200);
}
