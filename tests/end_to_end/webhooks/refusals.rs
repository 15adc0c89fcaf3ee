//! Where webhooks never go.

use serde_json::json;

use super::setup;
use crate::support::answer::Answer;
use crate::support::receiver::Receiver;

fn place_of(problem: &serde_json::Value, name: &str) -> String {
    problem["errors"][0][name].as_str().expect("a place").to_owned()
}

#[test]
fn a_place_the_operator_does_not_name_is_refused_with_the_setting_that_would_allow_it() {
    let (allowed, other) = (Receiver::start(), Receiver::start());
    for host in [setup().start(), setup().telling(&[&allowed]).start()] {
        let url = other.url("/x?hush");
        let problem = host.post_job(&json!({"kind": "good", "webhook": url})).refused(422, "invalid_option");
        assert_eq!(place_of(&problem, "pointer"), "/webhook");
        let detail = problem["detail"].as_str().expect("a sentence");
        let line = format!("{{scheme = \"http\", host = \"127.0.0.1\", port = {}}}", other.port());
        assert!(detail.contains("setting webhooks") && detail.contains(&line) && !detail.contains("hush"), "{detail}");
        let problem = host.post(&format!("/v1/kinds/good/jobs?webhook={url}"), "x").refused(422, "invalid_option");
        assert_eq!(place_of(&problem, "parameter"), "webhook");
        let line = json!({"kind": "good", "webhook": url});
        let batch = host.post("/v1/jobs/batch", line.to_string()).json();
        assert_eq!((&batch["status"], place_of(&batch["problem"], "pointer").as_str()), (&json!(422), "/webhook"));
        let mut socket = crate::support::ws::Socket::open(&host, crate::support::ws::Over::Http1);
        socket.send(&json!({"op": "submit", "kind": "good", "webhook": url}));
        let answer = socket.message();
        assert_eq!((&answer["event"], &answer["status"]), (&json!("problem"), &json!(422)), "{answer}");
        assert!(host.get("/v1/jobs").json()["jobs"].as_array().is_some_and(Vec::is_empty), "nothing was accepted");
    }
    assert!(other.told().is_empty());
}

#[test]
fn no_spelling_of_a_url_gets_around_the_setting() {
    let receiver = Receiver::start();
    let host = setup().telling(&[&receiver]).start();
    let port = receiver.port();
    for url in [
        String::new(),
        "x".to_owned(),
        format!("https://127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{}/", port ^ 1),
        "http://127.0.0.1/".to_owned(),
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.1:{port}@example.org/"),
        format!("http://example.org@127.0.0.1:{port}/"),
        format!("http://127.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://0x7f000001:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://127.0.0.1:{port}/#x"),
        format!("http://127.0.0.1:{port}/\r\nx"),
        receiver.url(&format!("/{}", "x".repeat(2_048))),
    ] {
        host.post_job(&json!({"kind": "good", "webhook": url})).refused(422, "invalid_option");
    }
    for (body, status) in [(json!({"kind": "good", "webhook": 7}), 400), (json!({"kind": "good", "webhook": {}}), 400)]
    {
        assert_eq!(host.post_job(&body).status, status);
    }
    // Another spelling of the very address that is allowed is that address.
    let id = host.submit_telling("good", &format!("http://[::ffff:127.0.0.1]:{port}/mapped"));
    host.webhook(&id, "delivered");
    assert_eq!(receiver.told().len(), 1);
}

/// Fault: a name that is allowed leads to an address inside of the operator's network.
#[test]
fn a_name_that_leads_to_a_private_address_is_not_told_unless_the_setting_says_so() {
    let receiver = Receiver::start();
    let named = |more: &str| format!("[{{scheme=\"http\",host=\"localhost\",port={}{more}}}]", receiver.port());
    let quick = |setup: crate::support::Setup| {
        setup.with_secret().set("webhook_pause", "10ms").set("webhook_pause_max", "10ms")
    };
    let url = format!("http://localhost:{}/", receiver.port());
    let host = quick(setup()).set("webhooks", named("")).start();
    let id = host.submit_telling("good", &url);
    let job = host.wait_until(&id, "was tried a few times", |job| job["webhook"]["tries"].as_u64() > Some(3));
    assert!(job["webhook"]["last_error"].as_str().is_some_and(|why| why.contains("private = true")), "{job}");
    assert!(receiver.told().is_empty());
    drop(host);
    let host = quick(setup()).set("webhooks", named(",private=true")).start();
    let id = host.submit_telling("good", &url);
    host.webhook(&id, "delivered");
}

#[test]
fn a_host_that_could_not_sign_does_not_start_and_says_what_is_missing() {
    let receiver = Receiver::start();
    let with = |secrets: &str| setup().telling(&[&receiver]).set("webhook_secrets", secrets);
    let short = "whsec_c2hvcnQ=";
    for (secrets, hint) in [
        ("[]", "webhook_secrets"),
        ("[{file=\"nowhere\"}]", "nowhere"),
        ("[{variable=\"NO_SUCH_VARIABLE\"}]", "NO_SUCH_VARIABLE"),
        ("[{variable=\"SHORT\"}]", "24 to 64 bytes"),
        ("[{}]", "webhook_secrets"),
        (short, "DROPFORGE_WEBHOOK_SECRETS"),
    ] {
        let exit = with(secrets).with_variable("SHORT", short).start_in_vain();
        assert!(!exit.status.success() && exit.stderr.contains(hint), "{secrets}: {}", exit.stderr);
        assert!(!exit.stderr.contains(&short[6..]), "the secret is not repeated: {}", exit.stderr);
    }
}

#[test]
fn one_receiver_has_so_many_to_come_and_no_more() {
    let (dead, quick) = (Receiver::refusing("500 No"), Receiver::start());
    let host = setup().telling(&[&dead, &quick]).set("webhooks_max", 3).start();
    let ids: Vec<String> = (0..3).map(|_| host.submit_telling("good", &dead.url("/"))).collect();
    let refused = host.post_job(&json!({"kind": "good", "webhook": dead.url("/")}));
    refused.refused(503, "too_many_webhooks");
    assert!(refused.header("retry-after").parse::<u32>().is_ok());
    // It is nobody else's affair.
    let other = host.submit_telling("good", &quick.url("/"));
    host.webhook(&other, "delivered");
    host.wait(&ids[0]);
    let deleted = Answer::of(host.request(reqwest::Method::DELETE, &format!("/v1/jobs/{}", ids[0])));
    assert_eq!(deleted.status, 204);
    host.submit_telling("good", &dead.url("/"));
}

#[test]
fn whoever_may_submit_may_be_told_and_others_see_nothing_of_it() {
    let receiver = Receiver::start();
    let setup = setup().telling(&[&receiver]);
    let (own, other) = (setup.new_token(&["--scope", "submit"]), setup.new_token(&["--scope", "read"]));
    let host = setup.start();
    let body = json!({"kind": "good", "webhook": receiver.url("/")}).to_string();
    let id = crate::support::accepted(&host.post_as(&own, "/v1/jobs", body.clone()));
    receiver.wait_for(1);
    host.get_as(&other, &format!("/v1/jobs/{id}")).refused(404, "unknown_job");
    host.post_as(&other, "/v1/jobs", body).refused(403, "missing_scope");
}
