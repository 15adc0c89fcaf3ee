//! Stored bytes as HTTP gives them out: conditional, in parts, under their names, all in one.

use std::io::{Cursor, Read};

use reqwest::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::answer::Answer;
use crate::support::{Host, guest};

/// Bytes in which a piece that is lost, doubled or swapped shows.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

fn tag_of(bytes: &[u8]) -> String {
    format!("\"{}\"", hex::encode(Sha256::digest(bytes)))
}

/// `GET` with these header fields.
fn get(host: &Host, path: &str, fields: &[(&str, &str)]) -> Answer {
    let request = host.request(Method::GET, path);
    Answer::of(fields.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
}

/// A host with a job whose result is these bytes, and the path of that result.
fn with_result(bytes: &[u8]) -> (Host, String) {
    let host = Host::prepare().with_guest("echo", guest::echo()).start();
    let id = host.submit_raw("echo", bytes.to_vec());
    host.wait_for(&id, "succeeded");
    (host, format!("/v1/jobs/{id}/result"))
}

/// A plugin that writes three files: a small one, a large one, and one with a name that needs care.
fn writer() -> Vec<u8> {
    let body = r#"(drop (call $artifact (text "small.txt") (text "just a few bytes")))
        (drop (call $artifact (text "large.bin") (i32.const 0) (i32.const 120000)))
        (drop (call $artifact (text "Übersicht – \"1\" von 2.txt") (text "ü")))
        (return (call $done (text "text/plain") (text "ok")))"#;
    guest::run(&body.replace("\\\"", "'"))
}

#[test]
fn a_copy_that_is_still_good_is_not_sent_again() {
    for size in [0, 10, 64 * 1024, 64 * 1024 + 1] {
        let bytes = pattern(size);
        let (host, path) = with_result(&bytes);
        let (answer, tag) = (host.get(&path), tag_of(&bytes));
        assert_eq!((answer.status, answer.header("etag"), &answer.body), (200, tag.as_str(), &bytes));
        for tags in [tag.clone(), "*".to_owned(), format!("W/{tag}"), format!("\"other\", {tag}")] {
            let unchanged = get(&host, &path, &[("if-none-match", &tags)]);
            assert_eq!((unchanged.status, unchanged.header("etag"), unchanged.body.len()), (304, tag.as_str(), 0));
            let head = host.request(Method::HEAD, &path).header("if-none-match", &tags);
            assert_eq!(Answer::of(head).status, 304);
        }
        assert_eq!(get(&host, &path, &[("if-none-match", "\"other\"")]).body, bytes);
        assert_eq!(get(&host, &path, &[("if-match", &tag)]).status, 200);
        get(&host, &path, &[("if-match", "\"other\"")]).refused(412, "precondition_failed");
        get(&host, &path, &[("if-match", &format!("W/{tag}"))]).refused(412, "precondition_failed");
    }
}

#[test]
fn any_part_of_a_result_can_be_fetched_alone() {
    for size in [1000, 300_000] {
        let bytes = pattern(size);
        let (host, path) = with_result(&bytes);
        assert_eq!(host.get(&path).header("accept-ranges"), "bytes");
        let last = size - 1;
        for (range, from, to) in [
            ("bytes=0-0".to_owned(), 0, 0),
            ("bytes=10-499".to_owned(), 10, 499),
            (format!("bytes={last}-"), last, last),
            (format!("bytes={last}-{}", size * 2), last, last),
            ("bytes=-700".to_owned(), size - 700, last),
            (format!("bytes=-{}", size * 2), 0, last),
        ] {
            let part = get(&host, &path, &[("range", &range)]);
            assert_eq!(part.status, 206, "{range}");
            assert_eq!(part.header("content-range"), format!("bytes {from}-{to}/{size}"));
            assert_eq!(part.header("content-length"), (to - from + 1).to_string());
            assert_eq!(part.header("etag"), tag_of(&bytes));
            assert!(part.body == bytes[from..=to], "{range}");
        }
        let beyond = get(&host, &path, &[("range", &format!("bytes={size}-"))]);
        beyond.refused(416, "range_not_satisfiable");
        assert_eq!(beyond.header("content-range"), format!("bytes */{size}"));
        for ignored in ["bytes=9-2", "bytes=x-", "lines=1-2", "bytes=0-1,5-6"] {
            assert_eq!(get(&host, &path, &[("range", ignored)]).status, 200, "{ignored}");
        }
        let head = Answer::of(host.request(Method::HEAD, &path).header("range", "bytes=0-0"));
        assert_eq!((head.status, head.header("content-length")), (200, size.to_string().as_str()));
    }
}

#[test]
fn a_download_goes_on_only_in_the_same_bytes() {
    let bytes = pattern(300_000);
    let (host, path) = with_result(&bytes);
    let tag = tag_of(&bytes);
    let go_on = |tag: &str| get(&host, &path, &[("range", "bytes=100000-"), ("if-range", tag)]);
    let rest = go_on(&tag);
    assert_eq!((rest.status, rest.body == bytes[100_000..]), (206, true));
    for other in ["\"other\"", &format!("W/{tag}"), "Sat, 21 Nov 2026 09:30:00 GMT"] {
        let whole = go_on(other);
        assert_eq!((whole.status, whole.body == bytes), (200, true), "{other}");
    }
    // What the client has already is checked before what part of it is wanted.
    assert_eq!(get(&host, &path, &[("range", "bytes=5-"), ("if-none-match", &tag)]).status, 304);
}

#[test]
fn conditions_count_for_results_and_not_for_other_answers() {
    let host = Host::prepare().with_guest("endless", guest::endless()).start();
    let id = host.submit("endless", Value::Null);
    let path = format!("/v1/jobs/{id}/result");
    assert_eq!(get(&host, &path, &[("if-none-match", "*"), ("range", "bytes=0-0")]).status, 202);
    host.cancel(&id);
    get(&host, &path, &[("if-none-match", "*"), ("if-match", "\"x\"")]).refused(409, "cancelled");
}

#[test]
fn artifacts_have_names_tags_and_ranges() {
    let host = Host::prepare().with_guest("writer", writer()).start();
    let id = host.submit("writer", Value::Null);
    host.wait_for(&id, "succeeded");
    let list = host.artifacts(&id);
    assert_eq!(list.len(), 3, "{list:?}");
    for entry in &list {
        let name = entry["name"].as_str().expect("a name");
        let mut url = reqwest::Url::parse("http://host/").expect("a URL");
        url.path_segments_mut().expect("a base").extend(["v1", "jobs", &id, "artifacts", name]);
        let answer = host.get(url.path());
        assert_eq!(answer.status, 200, "{name}");
        assert_eq!(answer.header("etag"), format!("\"{}\"", entry["sha256"].as_str().expect("a digest")));
        assert_eq!(answer.header("etag"), tag_of(&answer.body));
        let part = get(&host, url.path(), &[("range", "bytes=1-")]);
        assert_eq!((part.status, part.body == answer.body[1..]), (206, true));
        let disposition = answer.header("content-disposition");
        assert!(disposition.starts_with("inline; filename=\""), "{disposition}");
        if name == "small.txt" {
            assert_eq!(disposition, "inline; filename=\"small.txt\"");
        } else if name.starts_with('Ü') {
            assert!(disposition.contains("filename=\"_bersicht _ '1' von 2.txt\""), "{disposition}");
            assert!(disposition.contains("filename*=UTF-8''%C3%9Cbersicht%20%E2%80%93%20%271%27%20von%202.txt"));
        }
    }
    // A name with slashes is no path to anything.
    for path in ["..%2F..%2Flock", "small.txt%2F..%2Fsmall.txt", "/etc/passwd", ".."] {
        assert_eq!(host.get(&format!("/v1/jobs/{id}/artifacts/{path}")).status, 404, "{path}");
    }
}

#[test]
fn all_artifacts_come_as_one_zip() {
    let host = Host::prepare().with_guest("writer", writer()).with_guest("good", guest::good()).start();
    let id = host.submit("writer", Value::Null);
    host.wait_for(&id, "succeeded");
    let path = format!("/v1/jobs/{id}/artifacts.zip");
    let answer = host.get(&path);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/zip"));
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_eq!(answer.header("content-disposition"), format!("attachment; filename=\"writer-{id}.zip\""));
    let tag = answer.header("etag").to_owned();
    assert_eq!(get(&host, &path, &[("if-none-match", &tag)]).status, 304);
    let head = Answer::of(host.request(Method::HEAD, &path));
    assert_eq!((head.status, head.header("content-length")), (200, answer.header("content-length")));

    let list = host.artifacts(&id);
    let mut archive = zip::ZipArchive::new(Cursor::new(answer.body)).expect("an archive");
    assert_eq!(archive.len(), list.len());
    for (number, entry) in list.iter().enumerate() {
        let mut file = archive.by_index(number).expect("a file");
        assert_eq!(file.name().expect("UTF-8"), entry["name"].as_str().expect("a name"));
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("its checksum is right");
        assert_eq!(hex::encode(Sha256::digest(&bytes)), entry["sha256"]);
    }
    // A job without artifacts has an empty archive, and one that is not there has none.
    let empty = host.submit("good", Value::Null);
    host.wait_for(&empty, "succeeded");
    let empty = host.get(&format!("/v1/jobs/{empty}/artifacts.zip"));
    assert!(zip::ZipArchive::new(Cursor::new(empty.body)).expect("an archive").is_empty());
    host.get("/v1/jobs/none/artifacts.zip").refused(404, "unknown_job");
}
