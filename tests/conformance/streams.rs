//! Streams: server-sent events as the HTML standard has them, and HTTP/2.

use reqwest::{Method, Version};
use serde_json::json;

use crate::support::answer::{Answer, builder};
use crate::support::sse::{Event, Stream};
use crate::target::Target;
use crate::{Check, beside};

pub(crate) fn checks() -> Vec<Check> {
    vec![
        Check {
            clause: "HTML, 9.2.5 and 9.2.6",
            claim: "a job's events begin with its state, have ids, and end with its end",
            check: events,
        },
        Check {
            clause: "HTML, 9.2.4 (Last-Event-ID)",
            claim: "who comes back gets what it missed, nothing twice",
            check: resume,
        },
        Check {
            clause: "HTML, 9.2.4 (Last-Event-ID)",
            claim: "who comes back with an id nobody knows is told to begin anew",
            check: resync,
        },
        Check { clause: "HTML, 9.2.3 (204)", claim: "who has seen the end is told not to come back", check: no_more },
        Check { clause: "RFC 9113, 3.3", claim: "HTTP/2 is spoken in clear text by prior knowledge", check: http_2 },
    ]
}

fn listen(target: &Target, path: &str, last: Option<&str>) -> Stream {
    Stream::of(target.request(Method::GET, path), last)
}

/// The events of a job from its submit to its end.
fn whole_life(target: &Target) -> (String, Vec<Event>) {
    let path = target.submit(&json!({"delay": "300ms"}));
    let events = format!("{path}/events");
    let told = listen(target, &events, None).rest();
    (events, told)
}

fn events(target: &Target) {
    let (_, told) = whole_life(target);
    assert!(told.len() >= 2 && told.iter().all(|event| !event.id.is_empty()), "{told:?}");
    let states: Vec<&str> =
        told.iter().filter(|event| event.name == "state").filter_map(|event| event.data["state"].as_str()).collect();
    assert_eq!(states.last(), Some(&"succeeded"), "{states:?}");
    assert_eq!(told[0].name, "state");
}

fn resume(target: &Target) {
    let (events, told) = whole_life(target);
    for (number, event) in told.iter().enumerate().take(told.len() - 1) {
        let missed: Vec<String> =
            listen(target, &events, Some(&event.id)).rest().into_iter().map(|event| event.id).collect();
        let expected: Vec<String> = told[number + 1..].iter().map(|event| event.id.clone()).collect();
        assert_eq!(missed, expected);
    }
}

fn resync(target: &Target) {
    let (events, _) = whole_life(target);
    let told = listen(target, &events, Some("an id of nobody")).rest();
    assert_eq!(told.first().map(|event| event.name.as_str()), Some("resync"), "{told:?}");
    assert_eq!(told.last().map(|event| &event.data["state"]), Some(&json!("succeeded")));
}

fn no_more(target: &Target) {
    let (events, told) = whole_life(target);
    let last = &told.last().expect("it ended").id;
    let answer = Answer::of(target.request(Method::GET, &events).header("last-event-id", last));
    assert_eq!((answer.status, answer.body.len()), (204, 0));
}

fn http_2(target: &Target) {
    if target.address().starts_with("https:") {
        beside("over TLS it is negotiated instead");
    }
    let client = builder().http2_prior_knowledge().build().expect("a client can be made");
    let answer = Answer::of(target.with_token(client.get(format!("{}/v1/kinds", target.address()))));
    assert_eq!((answer.version, answer.status), (Version::HTTP_2, 200));
}
