//! The examples in `plugins/examples`, which have to be built first, with the tools of four languages: EXAMPLES_UNDER_TEST is the
//! folder they are in. `.ci/run` does both, or says aloud that it cannot.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::Host;

const LANGUAGES: [&str; 4] = ["rust", "python", "js", "c"];

fn host_with(files: &[String]) -> Host {
    let folder = std::env::var_os("EXAMPLES_UNDER_TEST").map(PathBuf::from);
    let folder = folder.expect("EXAMPLES_UNDER_TEST names a folder that plugins/examples/build has filled");
    let setup = files.iter().fold(Host::prepare(), |setup, file| {
        setup.with_file(file, std::fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}")))
    });
    setup.start()
}

#[test]
#[ignore = "plugins/examples/build comes first"]
fn words_are_counted_alike_in_every_language() {
    let files = LANGUAGES.map(|language| format!("word-count-{language}.wasm"));
    let host = host_with(&files);
    let long = "word ".repeat(50_000) + &"x".repeat(100_000);
    let cases: [(&str, &str, Value); 5] = [
        ("", "", json!({"bytes": 0, "lines": 0, "words": 0, "longest": 0})),
        ("", "one two\nthree", json!({"bytes": 13, "lines": 1, "words": 3, "longest": 5})),
        ("?min_length=4", "one two\nthree", json!({"bytes": 13, "lines": 1, "words": 1, "longest": 5})),
        ("", " \t\r\n\u{b}\u{c}Ä ", json!({"bytes": 9, "lines": 1, "words": 1, "longest": 2})),
        // More than one piece, and a word that is in two of them.
        ("", &long, json!({"bytes": 350_000, "lines": 0, "words": 50_001, "longest": 100_000})),
    ];
    for language in LANGUAGES {
        let kind = format!("word-count-{language}");
        for (query, input, wanted) in &cases {
            let id = host.submit_raw(&format!("{kind}{query}"), (*input).to_owned());
            let found: Value = serde_json::from_slice(&host.output(&id)).expect("JSON");
            assert_eq!(&found, wanted, "{kind}{query} of {} bytes", input.len());
            let job = host.job(&id);
            let fraction = job["progress"]["fraction"].as_f64().expect("a number");
            assert!(input.is_empty() || fraction == 1.0, "{kind}: {job}");
        }
        let about = host.get(&format!("/v1/kinds/{kind}")).json();
        assert_eq!(about["summary"], "Counts the lines, words and bytes of a text.");
        assert_eq!((&about["version"], &about["output"]["media_type"]), (&json!("0.1.0"), &json!("application/json")));
        for query in ["?min_length=many", "?min_length=-1", "?min_length=1000001", "?min_lenth=3"] {
            let answer = host.post(&format!("/v1/kinds/{kind}/jobs{query}"), "text");
            assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("invalid_input")), "{kind}{query}");
        }
    }
}

/// Fault: each piece of a long word is put behind all those before it, and everything is looked at again.
#[test]
#[ignore = "plugins/examples/build comes first"]
fn a_text_of_twice_the_size_takes_twice_the_work_also_without_a_space() {
    let files = LANGUAGES.map(|language| format!("word-count-{language}.wasm"));
    let host = host_with(&files);
    for language in LANGUAGES {
        let fuel = [2 << 20, 4 << 20].map(|size: usize| {
            let id = host.submit_raw(&format!("word-count-{language}"), "x".repeat(size));
            let found: Value = serde_json::from_slice(&host.output(&id)).expect("JSON");
            assert_eq!(found, json!({"bytes": size, "lines": 0, "words": 1, "longest": size}), "{language}");
            host.job(&id)["usage"][0]["fuel"].as_f64().expect("a number")
        });
        assert!(fuel[1] < 2.5 * fuel[0], "{language}: {fuel:?}");
    }
}

#[test]
#[ignore = "plugins/examples/build comes first"]
fn a_program_that_nobody_wrote_for_this_answers_jobs() {
    let host = host_with(&["markdown.wasm".to_owned(), "markdown.toml".to_owned()]);
    let id = host.submit_raw("markdown", "# Hi\n\n*there*\n");
    assert_eq!(host.output(&id), b"<h1>Hi</h1>\n<p><em>there</em></p>\n");
    assert_eq!(host.result(&id).header("content-type"), "text/html; charset=utf-8");
    let id = host.submit_raw("markdown?arg=--enable-tables", "| a |\n|---|\n| 1 |\n");
    assert!(String::from_utf8(host.output(&id)).expect("text").starts_with("<table>"));
    let failed = host.submit_raw("markdown?arg=--no-such-option", "");
    assert_eq!(host.failure(&failed)["code"], "plugin_error");
}
