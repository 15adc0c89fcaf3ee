//! The folder itself goes away, is unmounted, or another one takes its place.

use serde_json::json;

use super::{answer, serves};
use crate::support::{Host, eventually, guest};

#[test]
fn a_plugin_folder_that_goes_away_leaves_what_serves() {
    let host = Host::start();
    let (folder, aside) = (host.setup().plugins(), host.setup().data().join("plugins-aside"));
    std::fs::rename(&folder, &aside).expect("a folder can be renamed");
    eventually("the host has noticed", || {
        host.process().stderr().contains("plugin folder cannot be read").then_some(())
    });
    host.still_works();
    let list = host.get("/v1/plugins").json();
    assert_eq!(list["plugins"][0]["state"], "serving", "{list}");
    assert!(list["reason"].as_str().is_some_and(|reason| reason.contains("cannot be read")), "{list}");
    assert_eq!(host.get("/readyz").status, 200);
    std::fs::rename(&aside, &folder).expect("a folder can be renamed");
    host.drop_file("more.wasm", guest::answering("more"));
    assert_eq!(host.file("more.wasm")["state"], "serving");
    host.still_works();
}

/// Fault: a disk is unmounted for a moment, the empty folder under it is taken for the operator's word, and every kind is gone.
#[test]
fn an_empty_folder_in_place_of_the_plugin_folder_retires_nothing() {
    let host = Host::start();
    let (folder, aside) = (host.setup().plugins(), host.setup().data().join("plugins-aside"));
    let digest = host.file("good.wasm")["digest"].clone();
    // What an unmounted disk leaves: another folder under the same name.
    std::fs::rename(&folder, &aside).expect("a folder can be renamed");
    std::fs::create_dir(&folder).expect("a folder can be made");
    let list = eventually("the host has noticed", || {
        let list = host.get("/v1/plugins").json();
        list["reason"].as_str().is_some_and(|reason| reason.contains("unmounted")).then_some(list)
    });
    assert_eq!((&list["plugins"][0]["state"], &list["plugins"][0]["digest"]), (&json!("serving"), &digest), "{list}");
    assert!(host.process().stderr().contains("what serves goes on serving"));
    assert!(host.says(&["plugins"]).ended_with(0).text().contains("unmounted"));
    assert_eq!(host.get("/readyz").status, 200);
    host.still_works();
    std::fs::remove_dir(&folder).expect("it is empty");
    std::fs::rename(&aside, &folder).expect("a folder can be renamed");
    eventually("the folder is back", || host.get("/v1/plugins").json().get("reason").is_none().then_some(()));
    assert_eq!(host.file("good.wasm")["digest"], digest);
    host.still_works();
    // The folder itself, read and found to be empty, is the operator's word.
    std::fs::remove_file(folder.join("good.wasm")).expect("the file is there");
    eventually("the kind is retired", || (!serves(&host, "good")).then_some(()));
}

#[test]
fn another_folder_with_files_in_it_takes_the_place_of_the_plugin_folder() {
    let host = Host::start();
    let (folder, next) = (host.setup().plugins(), host.setup().data().join("next"));
    std::fs::create_dir(&next).expect("a folder can be made");
    std::fs::write(next.join("other.wasm"), guest::answering("other")).expect("it can be written");
    std::fs::rename(&folder, host.setup().data().join("before")).expect("a folder can be renamed");
    std::fs::rename(&next, &folder).expect("a folder can be renamed");
    eventually("the other kind serves alone", || (serves(&host, "other") && !serves(&host, "good")).then_some(()));
    assert_eq!(answer(&host, "other"), b"other");
    assert_eq!(host.get("/v1/plugins").json().get("reason"), None);
}
