//! What the README tells people to type, typed.

use std::path::Path;
use std::process::Command;

use crate::support::receiver::Receiver;
use crate::support::{Host, eventually, is_terminal, shipped};

/// The commands of the README's shell blocks, continued lines joined.
fn commands() -> Vec<String> {
    let readme = String::from_utf8(shipped("README.md")).expect("the README is text");
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let mut commands: Vec<String> = Vec::new();
    for line in blocks.flat_map(str::lines).filter(|line| !line.starts_with('#') && !line.is_empty()) {
        match commands.last_mut() {
            // Inside a quoted body.
            Some(command) if open_quote(command) => *command = format!("{command}\n{line}"),
            _ => commands.push(line.to_owned()),
        }
    }
    commands
}

fn open_quote(command: &str) -> bool {
    command.matches('\'').count() % 2 == 1
}

/// Types a command in a folder, and answers what it printed.
fn run(command: &str, folder: &Path) -> String {
    let output = Command::new("bash").args(["-c", command]).current_dir(folder).output().expect("bash is there");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}\n{error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_curl_line_works_as_printed() {
    let host = Host::prepare().with_plugin("pdf-to-png").with_plugin("integrate").start();
    let folder = host.setup().folder().to_owned();
    std::fs::create_dir_all(folder.join("host/assets")).expect("a folder can be made");
    std::fs::write(folder.join("host/assets/demo.pdf"), shipped("host/assets/demo.pdf")).expect("writable");
    // The ones with a token and with a webhook have tests of their own.
    let is_one = |line: &String| line.starts_with("curl ") && !line.contains("$TOKEN") && !line.contains("webhook");
    let lines: Vec<String> = commands().into_iter().filter(is_one).collect();
    assert_eq!(lines.len(), 7, "{lines:?}");
    let mut id = String::from("ID");
    let mut printed = Vec::new();
    for line in lines {
        let line = line.replace("http://127.0.0.1:8080", host.process().address()).replace("/ID", &format!("/{id}"));
        let output = run(&line.replacen("curl ", "curl -sS --fail ", 1), &folder);
        if let Ok(job) = serde_json::from_str::<serde_json::Value>(&output)
            && let Some(found) = job["id"].as_str()
        {
            assert!(job["state"] == "queued" || job["state"] == "running" || is_terminal(&job), "{job}");
            id = found.to_owned();
        }
        printed.push(output);
    }
    assert!(printed[0].starts_with("{\"result\":3.1"), "{}", printed[0]);
    assert!(printed[3].contains("\"page-017.png\""), "{}", printed[3]);
    let page = std::fs::read(folder.join("page-003.png")).expect("a line wrote it");
    assert!(page.starts_with(b"\x89PNG"));
    for part in ["\"openapi\":\"3.1.", "/v1/kinds/pdf-to-png/jobs", "/v1/jobs/{id}"] {
        assert!(printed[6].contains(part), "{part} is not in the document");
    }
}

#[test]
fn no_curl_line_is_where_these_tests_do_not_look() {
    let readme = String::from_utf8(shipped("README.md")).expect("the README is text");
    // However a block is marked, and wherever in a line it stands.
    let blocks = readme.split("```").skip(1).step_by(2);
    let mentioned = blocks.flat_map(str::lines).filter(|line| line.contains("curl")).count();
    assert_eq!(mentioned, commands().iter().filter(|line| line.starts_with("curl ")).count());
    assert!(!readme.contains("`curl "), "an example inside of a sentence is run by nobody");
}

#[test]
fn the_lines_about_data_folders_work_as_printed() {
    let mut host = Host::start();
    host.still_works();
    assert!(host.terminate().success());
    let folder = host.setup().folder().to_owned();
    let lines: Vec<String> =
        commands().into_iter().filter(|line| line.contains("dropforge-data") || line.contains("backup")).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    let printed: Vec<String> = lines
        .iter()
        .map(|line| {
            line.replace("dropforge-data", "data").replacen(
                "dropforge ",
                concat!(env!("CARGO_BIN_EXE_dropforge"), " "),
                1,
            )
        })
        .map(|line| run(&line, &folder))
        .collect();
    assert!(printed[0].starts_with("1 job = 1 succeeded"), "{}", printed[0]);
    assert!(folder.join("new-folder/db").is_dir());
}

#[test]
fn the_lines_for_those_without_curl_work_as_printed() {
    let host = Host::prepare().with_plugin("pdf-to-png").with_plugin("integrate").start();
    let folder = host.setup().folder().to_owned();
    std::fs::create_dir_all(folder.join("host/assets")).expect("a folder can be made");
    std::fs::write(folder.join("host/assets/demo.pdf"), shipped("host/assets/demo.pdf")).expect("writable");
    let verbs = ["kinds", "submit", "list"].map(|verb| format!("dropforge {verb}"));
    let is_one = |line: &String| verbs.iter().any(|verb| line.starts_with(verb));
    let lines: Vec<String> = commands().into_iter().filter(is_one).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    let url = format!("DROPFORGE_URL={} {} ", host.process().address(), env!("CARGO_BIN_EXE_dropforge"));
    let printed: Vec<String> = lines.iter().map(|line| run(&line.replacen("dropforge ", &url, 1), &folder)).collect();
    assert!(printed[0].contains("pdf-to-png") && printed[0].contains("integrate"), "{}", printed[0]);
    assert!(printed[1].starts_with("{\"result\":3.1"), "{}", printed[1]);
    assert!(folder.join("pages/page-017.png").is_file());
    assert_eq!(printed[3].lines().filter(|line| line.contains("succeeded")).count(), 2, "{}", printed[3]);
}

#[test]
fn the_line_that_checks_a_plugin_works_as_printed() {
    let setup = Host::prepare().with_plugin("message");
    let lines: Vec<String> = commands().into_iter().filter(|line| line.starts_with("dropforge check ")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = lines[0].replacen("dropforge ", concat!(env!("CARGO_BIN_EXE_dropforge"), " "), 1);
    let printed = run(&line, setup.folder());
    assert!(printed.contains("can be used, as kind message"), "{printed}");
}

#[test]
fn the_line_that_begins_a_plugin_works_as_printed() {
    let setup = Host::prepare();
    let lines: Vec<String> = commands().into_iter().filter(|line| line.starts_with("dropforge new ")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    run(&lines[0].replacen("dropforge ", concat!(env!("CARGO_BIN_EXE_dropforge"), " "), 1), setup.folder());
    assert!(setup.folder().join("word-count/test").is_file());
}

#[test]
fn the_lines_that_install_completions_work_as_printed() {
    let setup = Host::prepare();
    let folder = setup.folder().display().to_string();
    let lines: Vec<String> = commands().into_iter().filter(|line| line.contains("dropforge completions ")).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in &lines {
        let line = line.replace("dropforge completions", concat!(env!("CARGO_BIN_EXE_dropforge"), " completions"));
        run(&format!("HOME={folder}; {line}"), setup.folder());
    }
    // As the shell itself does it when somebody presses the tab key.
    let press = |words: &str| {
        let script = format!(
            "source .local/share/bash-completion/completions/dropforge; COMP_WORDS=({words}); COMP_CWORD=$(({} - 1)); \
             _dropforge dropforge \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\"",
            words.split(' ').count()
        );
        run(&script, setup.folder()).trim_end().to_owned()
    };
    assert_eq!(press("dropforge canc"), "cancel");
    assert_eq!(press("dropforge submit --save"), "--save-artifacts");
    assert_eq!(press("dropforge list --state run"), "running");
    for (shell, file) in [("zsh", ".zfunc/_dropforge"), ("fish", ".config/fish/completions/dropforge.fish")] {
        assert!(std::fs::metadata(setup.folder().join(file)).is_ok_and(|found| found.len() > 1_000), "{file}");
        // Where there is the shell, it can read it.
        let check = format!("! command -v {shell} >/dev/null || {shell} -n {file}");
        run(&check, setup.folder());
    }
}

#[test]
fn the_line_that_runs_a_plugin_works_as_printed() {
    let setup = Host::prepare().with_plugin("integrate");
    let lines: Vec<String> = commands().into_iter().filter(|line| line.starts_with("dropforge run ")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let caches = format!("XDG_CACHE_HOME=. {} ", env!("CARGO_BIN_EXE_dropforge"));
    let printed = run(&lines[0].replacen("dropforge ", &caches, 1), setup.folder());
    assert!(printed.starts_with("{\"result\":3.1"), "{printed}");
}

#[test]
fn the_lines_about_tokens_work_as_printed() {
    let is_one = |line: &String| line.starts_with("dropforge token ") || line.contains("$TOKEN");
    let lines: Vec<String> = commands().into_iter().filter(is_one).collect();
    let [new, list, curl, revoke] = lines.as_slice() else { panic!("{lines:?}") };
    let setup = Host::prepare();
    // As `--data` would, for a host that the harness gives a folder of its own.
    let typed = |line: &str| {
        let data = format!("DROPFORGE_DATA={} {} ", setup.data().display(), env!("CARGO_BIN_EXE_dropforge"));
        run(&line.replacen("dropforge ", &data, 1), setup.folder())
    };
    let token = typed(new).trim_end().to_owned();
    assert!(token.starts_with("dfk_") && typed(list).contains(&token[4..20]), "{token}");
    let mut process = setup.serve(["--listen", "127.0.0.1:0", "--data", &setup.data().display().to_string()]);
    assert!(process.comes_up(), "{}", process.stderr());
    let ask = |token: &str| {
        let line = curl.replace("http://127.0.0.1:8080", process.address()).replacen("curl ", "curl -sS ", 1);
        run(&line.replace("$TOKEN", token), setup.folder())
    };
    assert!(ask(&token).contains("\"next_cursor\""), "{}", ask(&token));
    assert!(ask("dfk_other").contains("unauthorized"));
    assert!(typed(&revoke.replace("ID", &token)).contains("revoked") && typed(list).is_empty());
}

#[test]
fn the_lines_about_webhooks_work_as_printed() {
    let receiver = Receiver::start();
    let readme = String::from_utf8(shipped("README.md")).expect("the README is text");
    let settings = readme.split("```toml\n").skip(1).find(|block| block.contains("webhook_secrets"));
    let settings = settings.and_then(|block| block.split("```").next()).expect("there is such a block");
    let lines: Vec<String> = commands().into_iter().filter(|line| line.contains("webhook")).collect();
    let [secret, curl] = lines.as_slice() else { panic!("{lines:?}") };
    let here = format!("127.0.0.1\", port = {}", receiver.port());
    let setup = Host::prepare().with_plugin("message");
    run(secret, setup.folder());
    let settings = settings.replace("127.0.0.1\", port = 9000", &here);
    std::fs::write(setup.folder().join("dropforge.toml"), settings).expect("writable");
    let mut process = setup.serve(["--listen", "127.0.0.1:0", "--config", "dropforge.toml"]);
    assert!(process.comes_up(), "{}", process.stderr());
    let curl =
        curl.replace("http://127.0.0.1:8080", process.address()).replace(":9000", &format!(":{}", receiver.port()));
    let job = eventually("the plugin serves", || {
        let answer: serde_json::Value =
            serde_json::from_str(&run(&curl.replacen("curl ", "curl -sS ", 1), setup.folder())).ok()?;
        answer["id"].is_string().then_some(answer)
    });
    let told = receiver.wait_for(1).remove(0);
    assert_eq!((&told.json()["type"], &told.json()["data"]["id"]), (&"job.succeeded".into(), &job["id"]));
    let secret = std::fs::read_to_string(setup.folder().join("webhook.secret")).expect("the line wrote it");
    assert!(told.is_signed_with(secret.trim_end()) && told.path == "/done");
}

#[test]
fn its_table_of_a_kinds_settings_names_every_key() {
    let readme = String::from_utf8(shipped("README.md")).expect("the README is text");
    let settings = String::from_utf8(shipped("host/src/plugins/settings.rs")).expect("the source is text");
    let body = settings.split("pub struct KindSettings {").nth(1).and_then(|rest| rest.split("\n}").next());
    // What comes last is not set by anybody.
    let keys = body.and_then(|body| body.split("#[serde(skip)]").next()).expect("a struct");
    let lines = keys.lines().map(str::trim).filter(|line| !line.starts_with("///"));
    let names = lines.filter_map(|line| line.trim_start_matches("pub ").split_once(':').map(|(name, _)| name));
    for name in names {
        let is_there = [format!("`{name}`"), format!("`[{name}]`"), format!("`[[{name}]]`")];
        assert!(is_there.iter().any(|key| readme.contains(key)), "the README does not name the key {name}");
    }
}

#[test]
fn its_table_of_settings_is_complete_and_true() {
    let readme = String::from_utf8(shipped("README.md")).expect("the README is text");
    let config = String::from_utf8(shipped("host/src/config.rs")).expect("the source is text");
    let body = config.split("pub struct Config {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("a struct");
    // What comes last is not set by anybody.
    let keys = body.split("#[serde(skip)]").next().expect("there are some");
    let names = keys.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next());
    for name in names {
        assert!(readme.contains(&format!("`{name}`")), "the README does not name the setting {name}");
    }
}

#[test]
fn the_plugin_in_the_guide_for_authors_is_the_one_its_helper_compiles() {
    let text = |path: &str| String::from_utf8(shipped(path)).expect("it is text");
    let (guide, helper) = (text("plugins/README.md"), text("plugins/sdk/src/lib.rs"));
    let shown = guide.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the guide shows one");
    let compiled = helper.split("//! ```no_run\n").nth(1).and_then(|rest| rest.split("//! ```").next());
    let compiled = compiled.expect("the helper documents one").replace("//! ", "").replace("//!", "");
    assert_eq!(shown, compiled);
}
