//! Webhooks: who is told how a job ended, how often, and who never is.

mod answers;
mod lasting;
mod refusals;

use serde_json::{Value, json};

use crate::support::document::Document;
use crate::support::receiver::{Receiver, SECRET};
use crate::support::{Host, eventually, guest};

/// A host with the plugins `good`, `bad` and `endless` that may tell these.
fn host(receivers: &[&Receiver]) -> Host {
    setup().telling(receivers).start()
}

fn setup() -> crate::support::Setup {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("bad", guest::run("unreachable"));
    setup.with_guest("endless", guest::endless())
}

impl Host {
    /// Submits a job whose end is to be told to this URL, and answers its id.
    fn submit_telling(&self, kind: &str, url: &str) -> String {
        self.submit_job(json!({"kind": kind, "webhook": url}))
    }

    /// What the job says of its webhook, once that stands so.
    fn webhook(&self, id: &str, state: &str) -> Value {
        self.wait_until(id, &format!("has a webhook that is {state}"), |job| job["webhook"]["state"] == *state)["webhook"].clone()
    }

    /// How many webhooks stand so, as `/metrics` has it.
    fn webhooks(&self, state: &str) -> u64 {
        let text = self.get("/metrics").text();
        let line = format!("dropforge_webhooks{{state=\"{state}\"}} ");
        let value = text.lines().find_map(|found| found.strip_prefix(&line));
        value.expect("there is such a figure").parse().expect("a number")
    }
}

#[test]
fn every_end_of_a_job_is_told_signed_and_without_its_result() {
    let receiver = Receiver::start();
    let host = host(&[&receiver]);
    let good = host.submit_telling("good", &receiver.url("/good?key=hush"));
    let bad = host.submit_telling("bad", &receiver.url("/bad"));
    let endless = host.submit_telling("endless", &receiver.url("/endless"));
    assert_eq!(host.wait_for(&endless, "running")["webhook"]["state"], "waiting");
    host.cancel(&endless);
    let told = receiver.wait_for(3);
    for (id, path, kind) in [
        (&good, "/good?key=hush", "job.succeeded"),
        (&bad, "/bad", "job.failed"),
        (&endless, "/endless", "job.cancelled"),
    ] {
        let message = told.iter().find(|message| message.path == path).expect("it was told");
        assert!(message.is_signed_with(SECRET), "{message:?}");
        assert!(!message.is_signed_with("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
        assert_eq!(message.header("content-type"), "application/json");
        assert_eq!(message.header("host"), format!("127.0.0.1:{}", receiver.port()));
        let (body, job) = (message.json(), host.job(id));
        assert_eq!((&body["type"], &body["timestamp"]), (&json!(kind), &job["finished_at"]));
        for field in ["id", "kind", "state", "failure", "links", "tags", "created_at", "finished_at", "attempts"] {
            assert_eq!(body["data"][field], job[field], "{field}");
        }
        assert!(body["data"].get("webhook").is_none() && message.body.len() < 4_096, "{body}");
        let webhook = host.webhook(id, "delivered");
        assert!(webhook["delivered_at"].is_string() && webhook["last_error"].is_null(), "{webhook}");
        assert_eq!(webhook["tries"], 1);
    }
    let ids: std::collections::HashSet<&str> = told.iter().map(|message| message.id()).collect();
    assert_eq!(ids.len(), 3);
    // What only client and receiver should know stands nowhere.
    let shown = format!("{}{}{}", host.job(&good), host.get("/v1/jobs").text(), host.process().stderr());
    assert!(shown.contains("/good?…") && !shown.contains("hush") && !shown.contains(&SECRET[6..]), "{shown}");
    let figure = "dropforge_webhook_try_seconds_count{outcome=\"delivered\"} 3";
    // Counted once it is recorded, which is what the job shows.
    eventually("the figures count them", || host.get("/metrics").text().contains(figure).then_some(()));
    host.still_works();
}

#[test]
fn a_message_is_as_the_document_says() {
    let receiver = Receiver::start();
    let host = host(&[&receiver]);
    for kind in ["good", "bad"] {
        host.submit_telling(kind, &receiver.url("/"));
    }
    let document = Document::of(&host.get("/openapi.json"));
    let promised = &document.value["webhooks"]["jobEnded"]["post"];
    for message in receiver.wait_for(2) {
        let body = &promised["requestBody"]["content"]["application/json"]["schema"];
        document.hold_value(body, &message.json(), "the body");
        let fields = promised["parameters"].as_array().expect("fields");
        assert_eq!(fields.len(), 3);
        for field in fields {
            let name = field["name"].as_str().expect("a name");
            let text = message.header(name);
            let value = text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number));
            document.hold_value(&field["schema"], &value, name);
        }
    }
}

#[test]
fn a_message_carries_a_signature_of_each_secret_while_they_are_changed() {
    let receiver = Receiver::start();
    let new = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
    let setup =
        setup().telling(&[&receiver]).set("webhook_secrets", "[{file=\"new.secret\"},{variable=\"WEBHOOK_SECRET\"}]");
    std::fs::write(setup.folder().join("new.secret"), format!("{new}\n")).expect("it can be written");
    let host = setup.start();
    host.submit_telling("good", &receiver.url("/"));
    let told = receiver.wait_for(1);
    assert!(told[0].is_signed_with(SECRET) && told[0].is_signed_with(new));
    assert_eq!(told[0].header("webhook-signature").split(' ').count(), 2);
}

#[test]
fn every_way_to_submit_takes_a_webhook() {
    let receiver = Receiver::start();
    let host = host(&[&receiver]);
    let url = |path: &str| receiver.url(path);
    host.submit_raw(&format!("good?webhook={}", url("/raw")), "x");
    let line = json!({"kind": "good", "webhook": url("/batch")});
    assert_eq!(host.post("/v1/jobs/batch", format!("{line}\n{line}\n")).text().matches(r#""status":202"#).count(), 2);
    let mut socket = crate::support::ws::Socket::open(&host, crate::support::ws::Over::Http1);
    socket.send(&json!({"op": "submit", "ref": 1, "kind": "good", "webhook": url("/ws")}));
    assert_eq!(socket.message()["event"], "accepted");
    let waited = host.request(reqwest::Method::POST, "/v1/jobs").header("prefer", "wait=60");
    let waited = waited.body(json!({"kind": "good", "webhook": url("/waited")}).to_string());
    assert_eq!(crate::support::answer::Answer::of(waited).status, 200);
    let command =
        ["submit", "good", "--url", host.process().address(), "--file", "/dev/null", "--webhook", &url("/command")];
    let exit = host.setup().run(&command);
    assert!(exit.status.success(), "{exit:?}");
    let id = exit.stdout[0].as_str();
    host.webhook(id, "delivered");
    let shown = host.setup().run(&["status", id, "--url", host.process().address()]).stdout.join("\n");
    assert!(shown.contains("delivered after 1 try: http://127.0.0.1"), "{shown}");
    let mut paths: Vec<String> = receiver.wait_for(6).into_iter().map(|message| message.path).collect();
    paths.sort();
    assert_eq!(paths, ["/batch", "/batch", "/command", "/raw", "/waited", "/ws"]);
}

/// Fault: a client repeats its submit, and the receiver hears of two jobs.
#[test]
fn a_submit_that_is_repeated_under_its_key_is_told_once() {
    let receiver = Receiver::start();
    let host = host(&[&receiver]);
    let submit = |path: &str| {
        let body = json!({"kind": "good", "webhook": receiver.url(path)}).to_string();
        let request = host.request(reqwest::Method::POST, "/v1/jobs").header("idempotency-key", "k").body(body);
        crate::support::answer::Answer::of(request)
    };
    let id = crate::support::accepted(&submit("/"));
    host.webhook(&id, "delivered");
    assert_eq!(crate::support::accepted(&submit("/")), id);
    submit("/other").refused(422, "idempotency_key_reused");
    let last = host.submit_telling("good", &receiver.url("/last"));
    host.webhook(&last, "delivered");
    assert_eq!(receiver.told().len(), 2);
}

#[test]
fn a_retried_job_tells_its_new_end_under_a_new_id() {
    let receiver = Receiver::start();
    let host = host(&[&receiver]);
    let id = host.submit_telling("bad", &receiver.url("/"));
    host.webhook(&id, "delivered");
    assert_eq!(host.post(&format!("/v1/jobs/{id}/retry"), "").status, 202);
    let told = receiver.wait_for(2);
    assert_ne!(told[0].id(), told[1].id());
    assert!(told.iter().all(|message| message.is_signed_with(SECRET)));
    eventually("the second is delivered", || (host.webhook(&id, "delivered")["tries"] == 1).then_some(()));
}
