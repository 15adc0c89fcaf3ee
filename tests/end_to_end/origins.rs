//! What browsers hear: which pages may talk to the host, and what they must not do with what they get.

use reqwest::Method;
use serde_json::Value;

use crate::support::answer::Answer;
use crate::support::{Host, guest};

#[test]
fn every_answer_says_what_a_browser_must_not_do_with_it() {
    let page = guest::run(r#"(return (call $done (text "text/html") (text "<script>alert(1)</script>")))"#);
    let host = Host::prepare().with_guest("good", guest::good()).with_guest("page", page).start();
    let id = host.submit("page", Value::Null);
    host.wait_for(&id, "succeeded");
    let result = format!("/v1/jobs/{id}/result");
    for (path, status, policy, cache) in [
        ("/", 200, "default-src 'none'; style-src 'unsafe-inline'", "no-store"),
        ("/v1/jobs", 200, "default-src 'none'; frame-ancestors 'none'", "no-store"),
        ("/v1/kinds", 200, "default-src 'none'; frame-ancestors 'none'", "no-store"),
        ("/nothing", 404, "default-src 'none'; frame-ancestors 'none'", "no-store"),
        (&result, 200, "sandbox", "private, no-cache"),
    ] {
        let answer = host.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.header("content-security-policy").starts_with(policy), "{path}: {:?}", answer.headers);
        assert_eq!(answer.header("cache-control"), cache, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{path}");
    }
    // What was not sent again may be kept as before.
    let tag = host.get(&result).header("etag").to_owned();
    let unchanged = Answer::of(host.request(Method::GET, &result).header("if-none-match", &tag));
    assert_eq!((unchanged.status, unchanged.header("cache-control")), (304, "private, no-cache"));
    assert_eq!((unchanged.header("etag"), unchanged.header("content-security-policy")), (tag.as_str(), "sandbox"));
}

#[test]
fn pages_of_other_origins_may_talk_to_the_host_only_if_the_operator_says_so() {
    let ask = |host: &Host, method: Method, origin: &str| {
        let request = host.request(method, "/v1/kinds/good/jobs").header("origin", origin);
        Answer::of(request.header("access-control-request-method", "POST"))
    };
    let closed = Host::start();
    let preflight = ask(&closed, Method::OPTIONS, "https://app.example");
    assert_eq!(preflight.header("access-control-allow-origin"), "");
    // A browser sends a simple request without asking first.
    ask(&closed, Method::POST, "https://app.example").refused(403, "foreign_origin");
    ask(&closed, Method::POST, "null").refused(403, "foreign_origin");
    let own = closed.process().address().to_owned();
    assert_eq!(ask(&closed, Method::POST, &own).status, 202, "a page of the host's own");
    assert_eq!(ask(&closed, Method::GET, "https://app.example").status, 405, "reading is for the browser to refuse");

    let open =
        Host::prepare().with_guest("good", guest::good()).set("cors_origins", "[\"https://app.example\"]").start();
    let preflight = ask(&open, Method::OPTIONS, "https://app.example");
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (200, "https://app.example"));
    for part in ["authorization", "idempotency-key", "prefer"] {
        assert!(preflight.header("access-control-allow-headers").contains(part), "{part}");
    }
    let accepted = ask(&open, Method::POST, "https://app.example");
    assert_eq!((accepted.status, accepted.header("access-control-allow-origin")), (202, "https://app.example"));
    for part in ["location", "retry-after", "etag", "ratelimit"] {
        assert!(accepted.header("access-control-expose-headers").contains(part), "{part}");
    }
    ask(&open, Method::POST, "https://evil.example").refused(403, "foreign_origin");
    assert_eq!(ask(&open, Method::OPTIONS, "https://evil.example").header("access-control-allow-origin"), "");
}

#[test]
fn a_page_may_use_a_token_it_was_given_where_the_operator_allows_its_origin() {
    let setup = Host::prepare().with_guest("good", guest::good()).set("cors_origins", "[\"*\"]");
    let token = setup.new_token(&[]);
    let host = setup.start();
    let request = host.request(Method::OPTIONS, "/v1/jobs").header("origin", "https://any.example");
    let preflight = Answer::of(request.header("access-control-request-method", "POST"));
    assert_eq!(
        (preflight.status, preflight.header("access-control-allow-origin")),
        (200, "*"),
        "no token is asked for"
    );
    let refused = Answer::of(host.request(Method::GET, "/v1/jobs").header("origin", "https://any.example"));
    refused.refused(401, "unauthorized");
    assert_eq!(refused.header("access-control-allow-origin"), "*", "the page may read why");
    let answer = Answer::of(host.request_as(&token, Method::GET, "/v1/jobs").header("origin", "https://any.example"));
    assert_eq!(answer.status, 200);
}

#[test]
fn an_origin_that_is_none_is_an_error_that_names_it() {
    let exit = Host::prepare().set("cors_origins", "[\"https://app.example/\"]").start_in_vain();
    assert!(!exit.status.success() && exit.stderr.contains("app.example/"), "{}", exit.stderr);
}

/// Fault: a page has its own name lead to this machine, so that to the browser, and by `Origin` and `Host`, it is the host's own.
#[test]
fn a_page_whose_name_was_made_to_lead_here_can_neither_read_nor_change_anything() {
    let rebound = |host: &Host, method: Method, path: &str, name: &str| {
        let port = host.process().address().rsplit(':').next().expect("a port").to_owned();
        let request = host.request(method, path).header("host", format!("{name}:{port}"));
        Answer::of(request.header("origin", format!("http://{name}:{port}")))
    };
    let closed = Host::start();
    for (method, path) in [
        (Method::POST, "/v1/kinds/good/jobs"),
        (Method::GET, "/v1/jobs"),
        (Method::GET, "/v1/ws"),
        (Method::GET, "/metrics"),
        (Method::GET, "/openapi.json"),
        (Method::POST, "/v1/kinds/good/pause"),
    ] {
        let answer = rebound(&closed, method.clone(), path, "evil.example");
        answer.refused(421, "foreign_host");
        assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("hosts")), "{method} {path}");
    }
    assert_eq!(closed.get("/v1/jobs").json()["jobs"], Value::Array(Vec::new()));
    assert_eq!(rebound(&closed, Method::GET, "/healthz", "evil.example").status, 200, "it shows nothing of jobs");
    for own in ["localhost", "127.0.0.1", "app.localhost", "jobs"] {
        assert_eq!(rebound(&closed, Method::POST, "/v1/kinds/good/jobs", own).status, 202, "{own}");
    }

    let named = Host::prepare().with_guest("good", guest::good()).set("hosts", "[\"Jobs.Example\"]").start();
    assert_eq!(rebound(&named, Method::POST, "/v1/kinds/good/jobs", "jobs.example").status, 202);
    rebound(&named, Method::POST, "/v1/kinds/good/jobs", "evil.example").refused(421, "foreign_host");

    // The operator has opted out; whoever holds a token acts by that and not by standing on the right machine.
    let open = Host::prepare().with_guest("good", guest::good()).set("insecure", "true").start();
    assert_eq!(rebound(&open, Method::POST, "/v1/kinds/good/jobs", "any.example").status, 202);
    let setup = Host::prepare().with_guest("good", guest::good());
    let token = setup.new_token(&[]);
    let guarded = setup.start();
    let request = guarded.request_as(&token, Method::GET, "/v1/jobs").header("host", "any.example");
    assert_eq!(Answer::of(request).status, 200);
}
