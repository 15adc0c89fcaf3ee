//! Files that are uploaded once and named by many inputs.

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::answer::Answer;
use crate::support::{Host, eventually, guest};

fn address_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Uploads bytes and answers their address.
fn upload(host: &Host, bytes: &[u8]) -> String {
    let answer =
        Answer::of(host.request(Method::POST, "/v1/blobs").header("content-type", "image/png").body(bytes.to_vec()));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let address = address_of(bytes);
    assert_eq!(answer.header("location"), format!("/v1/blobs/{address}"));
    let about = answer.json();
    assert_eq!(about["sha256"], address);
    assert_eq!(about["size"], bytes.len());
    assert_eq!(about["media_type"], "image/png");
    assert_eq!(about["reference"], json!({"$blob": format!("sha256:{address}")}));
    assert!(about["kept_until"].is_string());
    address
}

/// An input that names these blobs, for a guest that is to read this one.
fn input(named: &[&str], read: &str) -> Value {
    let named: Vec<Value> = named.iter().map(|address| json!({"$blob": format!("sha256:{address}")})).collect();
    json!([{"files": named}, read])
}

fn reader() -> Host {
    Host::prepare().with_guest("reader", guest::blob_reader()).with_guest("good", guest::good()).start()
}

#[test]
fn an_upload_of_any_size_comes_back_whole_in_parts_and_only_if_changed() {
    let host = Host::start();
    for size in [0, 10, 64 * 1024, 64 * 1024 + 1, 3_000_000] {
        let bytes = pattern(size);
        let path = format!("/v1/blobs/{}", upload(&host, &bytes));
        let (answer, tag) = (host.get(&path), format!("\"{}\"", address_of(&bytes)));
        assert_eq!(
            (answer.status, answer.header("content-type"), answer.header("etag")),
            (200, "image/png", tag.as_str())
        );
        assert!(answer.body == bytes, "{size} bytes");
        let unchanged = Answer::of(host.request(Method::GET, &path).header("if-none-match", &tag));
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
        if size > 1 {
            let part = Answer::of(host.request(Method::GET, &path).header("range", "bytes=1-8"));
            assert_eq!((part.status, part.body.as_slice()), (206, &bytes[1..9]));
            assert_eq!(part.header("content-range"), format!("bytes 1-8/{size}"));
        }
        let head = Answer::of(host.request(Method::HEAD, &path));
        assert_eq!((head.status, head.header("content-length")), (200, size.to_string().as_str()));
    }
}

#[test]
fn an_upload_may_be_as_large_as_any_body_and_no_larger() {
    let host = Host::prepare().with_guest("good", guest::good()).set("body_bytes_max", 100_000).start();
    upload(&host, &pattern(100_000));
    host.post("/v1/blobs", pattern(100_001)).refused(413, "too_large");
    let unknown = format!("/v1/blobs/{}", address_of(&pattern(100_001)));
    host.get(&unknown).refused(404, "unknown_blob");
}

#[test]
fn what_is_no_address_of_an_upload_is_not_found() {
    let host = Host::start();
    let address = upload(&host, b"here");
    for wrong in
        [address_of(b"not here"), address.to_uppercase(), address[..63].to_owned(), format!("{address}0"), "x".into()]
    {
        host.get(&format!("/v1/blobs/{wrong}")).refused(404, "unknown_blob");
    }
}

#[test]
fn a_guest_reads_the_blobs_its_input_names_and_no_others() {
    let host = reader();
    let (one, two) = (pattern(500_000), b"another".to_vec());
    let (first, second) = (upload(&host, &one), upload(&host, &two));
    assert!(host.output(&host.submit("reader", input(&[&first, &second], &first))) == one);
    assert_eq!(host.output(&host.submit("reader", input(&[&first, &first, &second], &second))), two);
    assert_eq!(host.output(&host.submit("reader", input(&[&first], &second))), b"not found");
    // Who names none gets none, whatever the guest asks for.
    assert_eq!(host.output(&host.submit("reader", input(&[], &first))), b"not found");
    let batch = host.post("/v1/jobs/batch", json!({"kind": "reader", "input": input(&[&second], &second)}).to_string());
    assert_eq!(host.output(batch.json()["id"].as_str().expect("accepted")), two);
}

#[test]
fn a_reference_to_what_is_not_there_is_refused_with_its_place() {
    let host = reader();
    let here = upload(&host, b"here");
    let unknown = address_of(b"not here");
    let wrong =
        host.post_job(&json!({"kind": "good", "input": input(&[&here, &unknown], "")})).refused(422, "invalid_input");
    assert_eq!(wrong["errors"][0]["pointer"], "/input/0/files/1");
    for reference in [json!(7), json!("sha256:12"), json!(here), json!(format!("sha256:{}", here.to_uppercase()))] {
        let body = json!({"kind": "good", "input": {"a/b": {"$blob": reference}}});
        let wrong = host.post_job(&body).refused(422, "invalid_input");
        assert_eq!(wrong["errors"][0]["pointer"], "/input/a~1b");
    }
    // What only looks like one is data like any other.
    host.submit("good", json!({"$blob": "sha256:12", "more": 1}));
    host.submit("good", json!("{\"$blob\": 1}"));
    for (count, fits) in [(100, true), (101, false)] {
        let addresses: Vec<String> = (0..count).map(|number: u32| upload(&host, &number.to_le_bytes())).collect();
        let named: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let answer = host.post_job(&json!({"kind": "good", "input": input(&named, "")}));
        assert_eq!(answer.status, if fits { 202 } else { 422 }, "{count} blobs: {}", answer.text());
    }
}

#[test]
fn an_upload_that_no_job_names_goes_after_a_while_and_one_that_is_named_stays() {
    let setup = Host::prepare().with_guest("reader", guest::blob_reader()).set("keep_uploads", "1s");
    let mut host = setup.start();
    let bytes = pattern(200_000);
    let named = upload(&host, &bytes);
    let id = host.submit_job(json!({"kind": "reader", "input": input(&[&named], &named), "delay": "1h"}));
    let unnamed = upload(&host, b"unnamed");
    let gone = |host: &Host, address: &str| {
        eventually("the upload goes", || (host.get(&format!("/v1/blobs/{address}")).status == 404).then_some(()));
    };
    gone(&host, &unnamed);
    host.kill_and_restart();
    assert!(host.get(&format!("/v1/blobs/{named}")).body == bytes);
    // Another one has come and gone, so the sweep has been there.
    let another = upload(&host, b"another");
    gone(&host, &another);
    assert!(host.get(&format!("/v1/blobs/{named}")).body == bytes);
    host.cancel(&id);
    assert_eq!(Answer::of(host.request(Method::DELETE, &format!("/v1/jobs/{id}"))).status, 204);
    host.kill_and_restart();
    gone(&host, &named);
    assert!(host.terminate().success());
    let verdict = host.setup().verify();
    assert!(verdict.status.success(), "{verdict:?}");
}

#[test]
fn uploads_and_references_move_with_an_export() {
    let mut host = reader();
    let bytes = pattern(300_000);
    let (named, empty) = (upload(&host, &bytes), upload(&host, b""));
    let body = json!({"kind": "reader", "input": input(&[&named, &empty], &named), "delay": "4s"});
    let id = host.submit_job(body);
    assert!(host.terminate().success());
    host.setup().move_data();
    let verdict = host.setup().verify();
    assert!(verdict.status.success(), "{verdict:?}");
    host.start_again();
    assert!(host.get(&format!("/v1/blobs/{named}")).body == bytes);
    assert_eq!(host.get(&format!("/v1/blobs/{empty}")).status, 200);
    assert!(host.output(&id) == bytes);
}

/// Fault: bytes that a job holds twice, as its input and its result, are written twice and read as one longer blob.
#[test]
fn a_job_that_holds_the_same_bytes_twice_moves_with_an_export() {
    let mut host = Host::prepare().with_guest("good", guest::good()).with_guest("echo", guest::echo()).start();
    let large = vec![b'x'; 200_000];
    let id = host.submit_raw("echo", large.clone());
    assert!(host.output(&id) == large);
    assert!(host.terminate().success());
    host.setup().move_data();
    host.start_again();
    assert!(host.output(&id) == large);
    host.still_works();
}

/// Fault: one client uploads until nobody else can.
#[test]
fn each_token_has_a_share_of_its_own_of_what_uploads_may_take() {
    let setup = Host::prepare().with_guest("good", guest::good()).set("uploads_max", 3).set("upload_bytes_max", 1_000);
    let [ann, bob] = [(); 2].map(|()| setup.new_token(&[]));
    let mut host = setup.start();
    let post = |host: &Host, token: &str, byte: u8, size: usize| host.post_as(token, "/v1/blobs", vec![byte; size]);
    let is_full = |answer: &Answer| {
        answer.refused(507, "uploads_full");
        let detail = answer.json()["detail"].as_str().expect("a sentence").to_owned();
        assert!(detail.contains("upload_bytes_max") && detail.contains("uploads_max"), "{detail}");
    };
    is_full(&post(&host, &ann, b'x', 1_001));
    assert_eq!(post(&host, &ann, b'a', 1_000).status, 201);
    let full = post(&host, &ann, b'b', 1);
    is_full(&full);
    let seconds: u64 = full.header("retry-after").parse().expect("seconds");
    assert!((1..=3_600).contains(&seconds), "{seconds}");
    assert_eq!(post(&host, &ann, b'a', 1_000).status, 201, "the same bytes are the same upload");
    // The same bytes of another are counted for each.
    assert_eq!(post(&host, &bob, b'a', 1_000).status, 201);
    is_full(&post(&host, &bob, b'b', 1));
    host.kill_and_restart();
    is_full(&post(&host, &ann, b'b', 1));
    assert_eq!((post(&host, &ann, b'b', 0).status, post(&host, &bob, b'b', 0).status), (201, 201));
}

#[test]
fn without_tokens_all_clients_share_as_many_uploads_as_one_may_keep() {
    let setup = Host::prepare().with_guest("good", guest::good()).set("uploads_max", 2).set("keep_uploads", "2s");
    let host = setup.start();
    upload(&host, b"one");
    upload(&host, b"two");
    host.post("/v1/blobs", "three").refused(507, "uploads_full");
    eventually("there is room once an upload goes", || (host.post("/v1/blobs", "three").status == 201).then_some(()));
    host.still_works();
}

/// Inputs beyond 16 KiB are looked through elsewhere, and nothing else is different.
#[test]
fn a_large_input_names_blobs_like_a_small_one() {
    let host = reader();
    let bytes = pattern(1_000);
    let address = upload(&host, &bytes);
    let padded = |address: &str, padding: usize| json!([{"files": ["x".repeat(padding), {"$blob": format!("sha256:{address}")}]}, address]);
    for padding in [10, 16 << 10, 4 << 20] {
        // The largest is more than the memory of the guest that reads holds.
        let (kind, expected) = if padding > 1 << 20 { ("good", &b"ok"[..]) } else { ("reader", &bytes[..]) };
        let id = host.submit_job(json!({"kind": kind, "input": padded(&address, padding)}));
        assert!(host.output(&id) == expected, "with {padding} bytes beside it");
        let refused = host.post_job(&json!({"kind": "reader", "input": padded(&"0".repeat(64), padding)}));
        refused.refused(422, "invalid_input");
        assert!(refused.text().contains("/input/0/files/1"), "{}", refused.text());
    }
}
