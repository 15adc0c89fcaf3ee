//! `dropforge bench`: what it says of what it measured. How fast that was is not for a test to judge.

use serde_json::{Value, json};

use crate::support::Host;

fn bench(arguments: &[&str]) -> (bool, String, String) {
    let exit = Host::prepare().run(&[&["bench", "--seconds", "1", "--rounds", "1"], arguments].concat());
    (exit.status.success(), exit.stdout.join("\n"), exit.stderr)
}

/// Fault: a target that is shown as met, or missed, whatever was measured.
#[test]
fn what_is_measured_is_held_against_its_targets() {
    let only = "echo,store commit,joined,open loop,kind paused,native,1 s,cancel to next,program file";
    let (is_done, output, errors) = bench(&["--only", only, "--connections", "2", "--json"]);
    assert!(is_done, "{errors}");
    let report: Value = serde_json::from_str(&output).expect("JSON");
    let rows = report["rows"].as_array().expect("a list");
    let row = |what: &str| rows.iter().find(|row| row["what"] == what).unwrap_or_else(|| panic!("no {what}: {output}"));

    let (mut met, mut all) = (0, 0);
    for row in rows.iter().chain(report["sizes"].as_array().expect("a list")) {
        for target in row["targets"].as_array().expect("a list") {
            let figure = row[target["figure"].as_str().expect("a name")].as_f64().expect("it was measured");
            let is_met = target["at_least"].as_f64().is_some_and(|bound| figure >= bound)
                || target["at_most"].as_f64().is_some_and(|bound| figure <= bound);
            assert_eq!(target["met"], is_met, "{row}");
            (met, all) = (met + usize::from(is_met), all + 1);
        }
    }
    assert_eq!((&report["targets_met"], &report["targets"]), (&json!(met), &json!(all)));
    assert_eq!(all, 4, "the jobs of the open loop, two kinds of cancel, the size of the program: {output}");

    assert_eq!(report["left_out"], json!([{"what": "pdf, 17 pages, native", "lacks": "--native-pdf PROGRAM"}]));
    let paused = row("durable submit, kind paused");
    assert!(paused["connections"] == 2 && paused["flushes_per_op"].as_f64().is_some_and(|flushes| flushes > 0.0));
    let cpu_us = |what: &str| row(what)["cpu_us_per_op"].as_f64().expect("measured");
    let (own, parts) = (cpu_us("durable submit, kind paused"), cpu_us("axum echo") + cpu_us("store commit"));
    assert!(own > 0.0 && paused["parts_cpu_us"].as_f64().is_some_and(|us| (us - parts).abs() < 0.01), "{paused}");
    assert!(paused["ceiling_per_second"].as_f64().is_some_and(|most| most > 0.0), "{paused}");
    let joined = row("bare parts joined");
    assert!(joined["p50_ms"].as_f64() > Some(0.0) && cpu_us("bare parts joined") > 0.0, "{joined}");
    // One after the other they would take a thousand seconds.
    let waiting = row("1,000 jobs wait 1 s, 1 thread")["p50_ms"].as_f64().expect("measured");
    assert!((1_000.0..100_000.0).contains(&waiting), "{waiting} ms");
    let program = std::fs::metadata(env!("CARGO_BIN_EXE_dropforge")).expect("it is there").len();
    assert_eq!((&report["sizes"][0]["what"], &report["sizes"][0]["bytes"]), (&json!("program file"), &json!(program)));
}

#[test]
fn a_plugin_of_ones_own_is_measured_and_one_that_refuses_the_input_is_named() {
    let plugin = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/message.wasm");
    let with = |input| bench(&["--only", "component", "--component", plugin, "--component-input", input]);
    let (is_done, table, errors) = with(r#"{"message":"x","seconds":0}"#);
    assert!(is_done, "{errors}");
    assert!(table.contains("component, call") && table.contains(" of component, call"), "{table}");
    let (is_done, _, errors) = with(r#"{"massage":"x"}"#);
    assert!(
        !is_done && errors.contains("component, call: the plugin failed") && errors.contains("massage"),
        "{errors}"
    );
}

/// Fault: minutes of measuring are lost to one work that fails.
#[test]
fn what_was_measured_before_a_failure_is_shown_with_what_failed() {
    let plugin = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/message.wasm");
    let with = |more: &[&str]| {
        let only = ["--only", "axum echo", "--only", "component, batch", "--connections", "1"].as_slice();
        bench(&[only, &["--component", plugin, "--component-input", r#"{"massage":"x"}"#], more].concat())
    };
    let (is_done, output, errors) = with(&["--json"]);
    let [report, error] =
        [output.as_str(), &errors].map(|text| serde_json::from_str::<Value>(text).expect("one document"));
    assert!(!is_done && report["rows"][0]["what"] == "axum echo", "{output}");
    assert_eq!(report["rows"].as_array().map(Vec::len), Some(1), "{output}");
    let failed = &report["failed"];
    assert_eq!(failed["what"], "component, batch to ends");
    assert!(
        failed["detail"].as_str().is_some_and(|why| why.contains("of 2000 jobs were accepted: the input")),
        "{failed}"
    );
    assert!(failed["try"].as_str().is_some_and(|advice| advice.contains("--component-input")), "{failed}");
    assert_eq!((&error["code"], &error["try"]), (&json!("error"), &failed["try"]));

    let (is_done, table, errors) = with(&[]);
    assert!(
        !is_done && table.contains("axum echo  ") && table.contains("component, batch to ends       failed"),
        "{table}"
    );
    assert!(errors.contains("batch to ends: 0 of 2000") && errors.contains("try: --component-input"), "{errors}");
}

#[test]
fn what_cannot_be_measured_is_said_with_what_can_be_done() {
    let (is_done, _, errors) = bench(&["--only", "sprint"]);
    assert!(!is_done && errors.contains("--only") && errors.contains("durable submit, kind paused"), "{errors}");
    let (is_done, _, errors) = bench(&["--only", "17 pages", "--native-pdf", "no-such-program"]);
    assert!(!is_done && errors.contains("--native-pdf: cannot run no-such-program"), "{errors}");
    let (is_done, _, errors) = bench(&["--connections", "1,0"]);
    assert!(!is_done && errors.contains("1..=10000"), "{errors}");
    for other in ["--only=echo", "--growth=10", "--fuel", "--idle=5"] {
        let (is_done, _, errors) = bench(&["--attacks", other]);
        let name = other.split('=').next().expect("the name is first");
        assert!(!is_done && errors.contains("--attacks") && errors.contains(name), "{other}: {errors}");
    }
}
