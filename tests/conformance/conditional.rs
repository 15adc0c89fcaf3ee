//! Entity tags, conditional requests and ranges: RFC 9110, sections 8.8, 13 and 14.

use reqwest::Method;
use serde_json::json;

use crate::Check;
use crate::support::answer::Answer;
use crate::target::Target;

pub(crate) fn checks() -> Vec<Check> {
    vec![
        Check {
            clause: "RFC 9110, 8.3, 8.6, 6.6.1",
            claim: "a result says what it is, how long it is, and when it was sent",
            check: result,
        },
        Check { clause: "RFC 9110, 9.3.2", claim: "HEAD is GET without the content", check: head },
        Check {
            clause: "RFC 9110, 8.8.3 and 13.1.2",
            claim: "a result has a strong entity tag, and who has it already gets 304",
            check: if_none_match,
        },
        Check {
            clause: "RFC 9110, 15.4.5",
            claim: "a 304 has the tag and the caching rules of the 200",
            check: fields_of_not_modified,
        },
        Check { clause: "RFC 9110, 13.1.1", claim: "who wants other bytes than there are gets 412", check: if_match },
        Check {
            clause: "RFC 9110, 14.2, 14.4, 15.3.7",
            claim: "a range is 206, and its Content-Range is true",
            check: ranges,
        },
        Check {
            clause: "RFC 9110, 15.5.17",
            claim: "a range beyond the end is 416, with how much there is",
            check: beyond_the_end,
        },
        Check {
            clause: "RFC 9110, 14.2",
            claim: "ranges in other units, malformed ones, and with HEAD are ignored",
            check: ignored_ranges,
        },
        Check {
            clause: "RFC 9110, 13.1.5",
            claim: "If-Range gives the part if it fits, else the whole",
            check: if_range,
        },
    ]
}

/// A request for a result, with these fields.
fn with(target: &Target, path: &str, fields: &[(&str, &str)]) -> Answer {
    let request = target.request(Method::GET, path);
    Answer::of(fields.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
}

fn result_path(target: &Target) -> String {
    format!("{}/result", target.finished())
}

fn result(target: &Target) {
    let answer = target.get(&result_path(target));
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").contains('/'));
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert!(answer.header("date").ends_with(" GMT"), "{}", answer.header("date"));
    assert_eq!(answer.header("accept-ranges"), "bytes");
    assert!(answer.body.len() >= 10, "what follows needs a result of at least ten bytes");
}

fn head(target: &Target) {
    let path = result_path(target);
    let (get, head) = (target.get(&path), Answer::of(target.request(Method::HEAD, &path)));
    assert_eq!((head.status, head.body.len()), (200, 0));
    for name in ["content-type", "content-length", "etag", "accept-ranges", "cache-control"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
}

fn if_none_match(target: &Target) {
    let path = result_path(target);
    let tag = target.get(&path).header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{tag}");
    for tags in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let answer = with(target, &path, &[("if-none-match", &tags)]);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{tags}");
    }
    assert_eq!(with(target, &path, &[("if-none-match", "\"x\"")]).status, 200);
}

fn fields_of_not_modified(target: &Target) {
    let path = result_path(target);
    let whole = target.get(&path);
    let answer = with(target, &path, &[("if-none-match", "*")]);
    for name in ["etag", "cache-control", "vary", "content-location"] {
        assert_eq!(answer.header(name), whole.header(name), "{name}");
    }
    assert_eq!(answer.header("content-length"), "", "or it would be that of the result");
}

fn if_match(target: &Target) {
    let path = result_path(target);
    let tag = target.get(&path).header("etag").to_owned();
    assert_eq!(with(target, &path, &[("if-match", &tag)]).status, 200);
    assert_eq!(with(target, &path, &[("if-match", "*")]).status, 200);
    with(target, &path, &[("if-match", "\"x\"")]).refused(412, "precondition_failed");
    with(target, &path, &[("if-match", &format!("W/{tag}"))]).refused(412, "precondition_failed");
}

fn ranges(target: &Target) {
    let path = result_path(target);
    let whole = target.get(&path);
    let size = whole.body.len();
    for (range, first, last) in [
        ("bytes=0-0".to_owned(), 0, 0),
        ("bytes=2-4".to_owned(), 2, 4),
        ("bytes=3-".to_owned(), 3, size - 1),
        ("bytes=-4".to_owned(), size - 4, size - 1),
        (format!("bytes=0-{}", size * 2), 0, size - 1),
    ] {
        let part = with(target, &path, &[("range", &range)]);
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.header("content-range"), format!("bytes {first}-{last}/{size}"));
        assert_eq!(part.body, whole.body[first..=last], "{range}");
        assert_eq!(part.header("etag"), whole.header("etag"));
    }
}

fn beyond_the_end(target: &Target) {
    let path = result_path(target);
    let size = target.get(&path).body.len();
    let answer = with(target, &path, &[("range", &format!("bytes={size}-"))]);
    answer.refused(416, "range_not_satisfiable");
    assert_eq!(answer.header("content-range"), format!("bytes */{size}"));
}

fn ignored_ranges(target: &Target) {
    let path = result_path(target);
    for range in ["pages=1-2", "bytes=5-2", "bytes=x-y", "bytes="] {
        assert_eq!(with(target, &path, &[("range", range)]).status, 200, "{range}");
    }
    let head = Answer::of(target.request(Method::HEAD, &path).header("range", "bytes=0-0"));
    assert_eq!((head.status, head.header("content-range")), (200, ""));
}

fn if_range(target: &Target) {
    let path = result_path(target);
    let tag = target.get(&path).header("etag").to_owned();
    let weak = format!("W/{tag}");
    for (condition, status) in [(tag.as_str(), 206), ("\"x\"", 200), (weak.as_str(), 200)] {
        let answer = with(target, &path, &[("range", "bytes=0-1"), ("if-range", condition)]);
        assert_eq!(answer.status, status, "{condition}");
    }
    let unsatisfiable = with(target, &path, &[("range", "bytes=99999999-"), ("if-range", "\"x\"")]);
    assert_eq!(unsatisfiable.status, 200, "{}", json!(unsatisfiable.text()));
}
