//! How long finished jobs are kept: as the host says, and as the settings of a kind say.

use serde_json::{Value, json};

use crate::support::{Host, eventually, guest};

fn status(host: &Host, path: &str) -> u16 {
    host.get(path).status
}

/// Submits a job that succeeds, and answers its id once it has.
fn ended(host: &Host, kind: &str) -> String {
    let id = host.submit(kind, Value::Null);
    host.wait_for(&id, "succeeded");
    id
}

/// Waits until retention has taken a job altogether.
fn is_forgotten(host: &Host, id: &str) {
    eventually("the job is forgotten", || (status(host, &format!("/v1/jobs/{id}")) == 404).then_some(()));
}

fn assert_kept(host: &Host, id: &str) {
    assert_eq!(host.output(id), b"ok", "{id} should be kept");
}

#[test]
fn a_kinds_results_go_at_the_age_that_its_settings_say_and_later_their_records() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("short", guest::good());
    let host = setup.with_file("short.toml", "keep = \"1s\"").start();
    assert_eq!(host.get("/v1/kinds/short").json()["limits"]["keep_ms"], 1_000);
    assert_eq!(host.get("/v1/kinds/good").json()["limits"]["keep_ms"], 7 * 24 * 60 * 60 * 1_000);
    let (short, good) = (ended(&host, "short"), ended(&host, "good"));
    assert_kept(&host, &short);
    eventually("the result is gone", || (host.result(&short).status == 410).then_some(()));
    assert_eq!(host.job(&short)["state"], "succeeded", "the record is still there");
    is_forgotten(&host, &short);
    assert_kept(&host, &good);
    // The file changes, and what is there already is kept for as long as it says now.
    host.drop_file("short.toml", "keep = \"1h\"");
    eventually("the new settings serve", || {
        (host.get("/v1/kinds/short").json()["limits"]["keep_ms"] == 3_600_000).then_some(())
    });
    let long = ended(&host, "short");
    assert_kept(&host, &long);
    host.drop_file("short.toml", "keep = 0");
    is_forgotten(&host, &long);
    assert_kept(&host, &good);
    host.still_works();
}

#[test]
fn a_kind_keeps_as_many_jobs_and_bytes_as_its_settings_say() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("few", guest::good());
    let setup = setup.with_file("few.toml", "keep_jobs_max = 2").with_guest("small", guest::good());
    // Each has an input of 1,000 bytes and a result of 2.
    let host = setup.with_file("small.toml", "keep_bytes_max = 2004").start();
    let limits = |kind: &str| host.get(&format!("/v1/kinds/{kind}")).json()["limits"].clone();
    assert_eq!((&limits("few")["keep_jobs_max"], &limits("few")["keep_bytes_max"]), (&json!(2), &Value::Null));
    assert_eq!((&limits("small")["keep_jobs_max"], &limits("small")["keep_bytes_max"]), (&Value::Null, &json!(2004)));
    let submit = |kind: &str| {
        let one = || host.submit_raw(kind, " ".repeat(1_000));
        let ended = |id: String| host.wait_for(&id, "succeeded")["id"].as_str().map(str::to_owned);
        (0..3).filter_map(|_| ended(one())).collect::<Vec<_>>()
    };
    let (few, small, good) = (submit("few"), submit("small"), submit("good"));
    is_forgotten(&host, &few[0]);
    eventually("the oldest result is gone", || (host.result(&small[0]).status == 410).then_some(()));
    assert_eq!(host.job(&small[0])["state"], "succeeded", "of too many bytes the record stays");
    few[1..].iter().chain(&small[1..]).chain(&good).for_each(|id| assert_kept(&host, id));
}

/// Fault: a host that starts takes what a kind keeps for longer than others, before it has read that.
#[test]
fn what_a_kind_keeps_for_longer_survives_a_restart_until_its_file_goes() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("long", guest::good());
    let mut host = setup.with_file("long.toml", "keep = \"1h\"").set("keep", "500ms").start();
    let (long, good) = (ended(&host, "long"), ended(&host, "good"));
    is_forgotten(&host, &good);
    for _ in 0..3 {
        host.kill_and_restart();
        assert_kept(&host, &long);
    }
    std::fs::remove_file(host.setup().plugins().join("long.wasm")).expect("the file is there");
    is_forgotten(&host, &long);
    host.still_works();
}

/// Fault: a disk that is mounted late, with a folder that a kind is granted, costs the kind what it keeps for longer than others.
#[test]
fn what_a_kind_keeps_for_longer_survives_a_start_at_which_its_file_is_rejected() {
    let setup = Host::prepare().with_guest("good", guest::good()).with_guest("long", guest::good());
    let (granted, away) = (setup.plugins().join("granted"), setup.plugins().join("away"));
    std::fs::create_dir(&granted).expect("it can be made");
    let settings = "keep = \"1h\"\n[[folders]]\nguest = \"/granted\"\nhost = \"granted\"";
    let mut host = setup.with_file("long.toml", settings).set("keep", "500ms").start();
    let long = ended(&host, "long");
    host.kill();
    std::fs::rename(&granted, &away).expect("it is there");
    host.start_again();
    assert_eq!(host.file("long.wasm")["state"], "rejected");
    let good = ended(&host, "good");
    is_forgotten(&host, &good);
    assert_kept(&host, &long);
    std::fs::rename(&away, &granted).expect("it is there");
    host.kill_and_restart();
    let good = ended(&host, "good");
    is_forgotten(&host, &good);
    assert_kept(&host, &long);
    assert_eq!(host.file("long.wasm")["state"], "serving");
}
