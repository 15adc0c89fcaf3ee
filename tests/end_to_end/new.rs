//! `dropforge new`: what a project begins as. That each can be built and works is tested by `plugins/examples/build`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::command::{Said, say};
use crate::support::{Host, Setup};

fn new(setup: &Setup, words: &[&str]) -> Said {
    say(&[&["new"], words].concat(), "http://127.0.0.1:1", b"", setup.folder())
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_project_is_all_that_the_language_needs() {
    let setup = Host::prepare();
    for (language, sources) in [
        ("rust", &["Cargo.toml", "src/lib.rs", "dropforge-job/src/lib.rs", "dropforge-job/wit/job.wit"][..]),
        ("python", &["app.py", "wit/job.wit", "wit/deps/io.wit"]),
        ("js", &["plugin.js", "build.mjs", "package.json", "wit/job.wit"]),
        (
            "c",
            &["count.c", "bindings/plugin.c", "bindings/plugin.h", "bindings/plugin_component_type.o", "wit/job.wit"],
        ),
    ] {
        let name = format!("count-in-{language}");
        let said = new(&setup, &[&name, "--lang", language, "--json"]).ended_with(0).json();
        assert_eq!(said["folder"], name);
        let project = setup.folder().join(&name);
        for file in [&["README.md", "build", "test", "example.txt", ".gitignore"], sources].concat() {
            assert!(project.join(file).is_file(), "{language}: {file}");
        }
        for script in ["build", "test"] {
            let mode = project.join(script).metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o100, 0o100, "{script} can be run");
            assert!(text(&project.join(script)).contains(&format!("{name}.wasm")), "{script} knows the name");
        }
        assert!(text(&project.join("README.md")).starts_with(&format!("# {name}\n")));
        let listed = said["files"].as_array().expect("a list").len();
        assert_eq!(listed, count(&project), "what was written is said");
    }
}

fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path());
    entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
}

#[test]
fn nothing_is_overwritten() {
    let setup = Host::prepare();
    new(&setup, &["mine", "--lang", "c"]).ended_with(0);
    let changed = setup.folder().join("mine/count.c");
    std::fs::write(&changed, "mine").expect("writable");
    let said = new(&setup, &["mine", "--lang", "python"]).ended_with(1);
    assert!(said.errors.contains("mine is there already"), "{}", said.errors);
    assert!(text(&changed) == "mine" && !setup.folder().join("mine/app.py").exists());
    std::os::unix::fs::symlink("nowhere", setup.folder().join("link")).expect("links can be made");
    new(&setup, &["link"]).ended_with(1);
    new(&setup, &["other", "--into", "absent"]).ended_with(6);
}

#[test]
fn a_name_that_can_be_no_kind_is_refused_with_one_that_can() {
    let setup = Host::prepare();
    let long = "x".repeat(64);
    for (name, hint) in [("Word_Count", "word-count"), ("../up", "up"), ("é", "my-plugin"), (&long, "63 of a-z")] {
        let said = new(&setup, &["--", name]).ended_with(2);
        assert!(said.errors.contains(hint), "{name}: {}", said.errors);
    }
    new(&setup, &["word-count", "--lang", "cobol"]).ended_with(2);
    new(&setup, &[&"x".repeat(63)]).ended_with(0);
}
