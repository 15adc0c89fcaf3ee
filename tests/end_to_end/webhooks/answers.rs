//! What a receiver answers, and what comes of it.

use std::time::{Duration, Instant};

use super::{host, setup};
use crate::support::eventually;
use crate::support::receiver::{Receiver, SECRET};

#[test]
fn a_receiver_that_fails_is_asked_again_with_the_same_id_and_body() {
    let receiver = Receiver::answering(|_, before| Some(if before < 3 { "500 No" } else { "200 OK" }.to_owned()));
    let host = host(&[&receiver]);
    let id = host.submit_telling("good", &receiver.url("/"));
    let webhook = host.webhook(&id, "delivered");
    assert_eq!((&webhook["tries"], &webhook["last_error"]), (&4.into(), &serde_json::Value::Null));
    let told = receiver.told();
    assert_eq!(told.len(), 4);
    for message in &told {
        assert!(message.is_signed_with(SECRET) && message.id() == told[0].id() && message.body == told[0].body);
    }
}

#[test]
fn a_receiver_that_says_gone_is_never_asked_again() {
    let receiver =
        Receiver::answering(|told, _| Some(if told.path == "/gone" { "410 Gone" } else { "200 OK" }.to_owned()));
    let host = host(&[&receiver]);
    let gone = host.submit_telling("good", &receiver.url("/gone"));
    let webhook = host.webhook(&gone, "given_up");
    assert_eq!((&webhook["tries"], &webhook["last_error"]), (&1.into(), &"answered 410".into()));
    assert!(webhook["given_up_at"].is_string() && webhook["next_try_at"].is_null(), "{webhook}");
    // Longer than any pause there is here: many that came later are through.
    for _ in 0..10 {
        let other = host.submit_telling("good", &receiver.url("/other"));
        host.webhook(&other, "delivered");
    }
    assert_eq!(receiver.told().iter().filter(|told| told.path == "/gone").count(), 1);
    assert_eq!(host.webhooks("due"), 0);
}

#[test]
fn a_receiver_that_asks_for_a_pause_gets_it() {
    let receiver = Receiver::answering(|told, before| {
        let busy = if told.path == "/busy" { "503 Busy" } else { "429 Slower" };
        Some(if before == 0 { format!("{busy}\r\nRetry-After: 2") } else { "200 OK".to_owned() })
    });
    let host = host(&[&receiver]);
    for path in ["/busy", "/slower"] {
        let id = host.submit_telling("good", &receiver.url(path));
        host.webhook(&id, "delivered");
        let times: Vec<Instant> =
            receiver.told().into_iter().filter(|told| told.path == path).map(|told| told.at).collect();
        assert_eq!(times.len(), 2, "{path}");
        // The host counts from when it had read the answer, in whole milliseconds.
        assert!(times[1] - times[0] >= Duration::from_millis(1_990), "{path}: {:?}", times[1] - times[0]);
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::start();
    let place = elsewhere.url("/");
    let receiver = Receiver::answering(move |_, before| {
        let status = [301, 302, 303, 307, 308].get(before)?;
        Some(format!("{status} There\r\nLocation: {place}"))
    });
    let host = host(&[&receiver, &elsewhere]);
    let id = host.submit_telling("good", &receiver.url("/"));
    receiver.wait_for(6);
    let webhook = host.webhook(&id, "due");
    assert!(webhook["last_error"].as_str().is_some_and(|why| why.contains("redirects are not followed")), "{webhook}");
    assert!(elsewhere.told().is_empty());
}

/// Fault: one receiver does not answer, and everybody waits for it.
#[test]
fn a_slow_receiver_holds_up_no_other() {
    let (slow, quick) = (Receiver::silent(), Receiver::start());
    let host = setup().telling(&[&slow, &quick]).set("webhook_timeout", "10m").start();
    for _ in 0..40 {
        host.submit_telling("good", &slow.url("/"));
    }
    slow.wait_for(8);
    for _ in 0..20 {
        let id = host.submit_telling("good", &quick.url("/"));
        host.webhook(&id, "delivered");
    }
    // As many as one receiver is asked at a time, and none has been let go of.
    let standing = || (slow.told().len(), host.webhooks("in_flight"), host.webhooks("due"));
    eventually("8 are under way and the others wait", || (standing() == (8, 8, 32)).then_some(()));
    host.still_works();
}

#[test]
fn a_receiver_that_does_not_answer_is_let_go_of_in_time() {
    let silent = Receiver::silent();
    let host = setup().telling(&[&silent]).set("webhook_timeout", "100ms").start();
    let id = host.submit_telling("good", &silent.url("/"));
    silent.wait_for(3);
    let webhook =
        host.wait_until(&id, "has been tried", |job| job["webhook"]["last_error"].is_string())["webhook"].clone();
    assert_eq!(webhook["last_error"], "no answer within 100 ms");
}

#[test]
fn what_a_receiver_answers_is_read_to_a_limit() {
    // A head just below the limit, one far above it, and one with too many fields.
    let long = |bytes: usize| format!("200 OK\r\nX: {}", "x".repeat(bytes));
    let fields = |count: usize| (0..count).fold("200 OK".to_owned(), |head, number| format!("{head}\r\nX-{number}: x"));
    let receiver = Receiver::answering(move |told, _| {
        Some(match told.path.as_str() {
            "/long" => long(30_000),
            "/longer" => long(100_000),
            "/many" => fields(90),
            _ => fields(200),
        })
    });
    let host = host(&[&receiver]);
    for path in ["/long", "/many"] {
        let id = host.submit_telling("good", &receiver.url(path));
        host.webhook(&id, "delivered");
    }
    for path in ["/longer", "/more"] {
        let id = host.submit_telling("good", &receiver.url(path));
        let job = host.wait_until(&id, "has been tried", |job| job["webhook"]["last_error"].is_string());
        assert!(job["webhook"]["last_error"].as_str().is_some_and(|why| why.contains("no proper answer")), "{job}");
    }
}

/// Fault: a receiver of `https` is told in clear text, or without having shown that it is who was allowed.
#[test]
fn a_receiver_that_cannot_show_who_it_is_is_told_nothing() {
    let server = crate::support::server::Server::start();
    let host =
        setup().set("webhooks", format!("[{{host=\"127.0.0.1\",port={}}}]", server.port())).with_secret().start();
    let id = host.submit_telling("good", &format!("https://127.0.0.1:{}/", server.port()));
    let job = host.wait_until(&id, "has been tried", |job| job["webhook"]["last_error"].is_string());
    assert!(job["webhook"]["last_error"].as_str().is_some_and(|why| why.contains("no trusted connection")), "{job}");
    assert!(server.heads().iter().all(|head| !head.contains("POST")), "{:?}", server.heads());
}

#[test]
fn an_endless_answer_is_as_good_as_a_short_one() {
    let server = crate::support::server::Server::start();
    let allowed = format!("[{{scheme=\"http\",host=\"127.0.0.1\",port={}}}]", server.port());
    let host = setup().set("webhooks", allowed).with_secret().start();
    let id = host.submit_telling("good", &format!("http://127.0.0.1:{}/endless", server.port()));
    assert_eq!(host.webhook(&id, "delivered")["tries"], 1);
}
