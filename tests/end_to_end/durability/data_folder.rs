//! The data folder is shared, robbed of its database, damaged, or left half imported: nothing is lost in silence.

use serde_json::{Value, json};

use crate::support::{Host, guest, is_terminal};

#[test]
fn two_hosts_cannot_share_a_data_folder() {
    let host = Host::start();
    let id = host.submit("good", Value::Null);
    let second = host.setup().start_in_vain();
    assert!(!second.status.success());
    assert!(second.stderr.contains("in use by another"), "{}", second.stderr);
    assert!(second.stdout.is_empty(), "{:?}", second.stdout);
    assert_eq!(host.output(&id), b"ok", "the first is not disturbed");
}

/// Fault: a database that was lost is served as an empty one, and every accepted job is silently gone.
#[test]
fn a_database_that_was_replaced_by_an_empty_one_is_refused() {
    let mut host = Host::start();
    let id = host.submit("good", Value::Null);
    assert!(is_terminal(&host.wait(&id)));
    assert!(host.terminate().success());
    let (database, aside) = (host.setup().data().join("db"), host.setup().data().join("db-aside"));
    std::fs::rename(&database, &aside).expect("the database is there");
    for time in ["first", "second"] {
        let exit = host.setup().start_in_vain();
        assert!(!exit.status.success(), "the {time} time");
        assert!(exit.stderr.contains("damaged"), "the {time} time: {}", exit.stderr);
        assert!(exit.stdout.is_empty(), "{:?}", exit.stdout);
    }
    // With the true database back, everything is.
    assert!(!database.exists(), "refused, and yet something was made");
    std::fs::rename(&aside, &database).expect("it was moved aside");
    host.start_again();
    assert_eq!(host.output(&id), b"ok");
}

/// Fault: a job whose input was damaged on the disk runs on other bytes than were submitted, or is never told to have failed.
#[test]
fn a_job_whose_input_was_damaged_fails_and_says_so() {
    for damage in ["flipped", "gone"] {
        let setup = Host::prepare().with_guest("echo", guest::echo()).with_guest("good", guest::good());
        let mut host = setup.set("retry_pause", "10ms").start();
        let id = host.submit_raw("echo?delay=1h", vec![7; 200_000]);
        let soon = host.submit_raw("echo?delay=2s", vec![7; 100_000]);
        host.kill();
        for entry in std::fs::read_dir(host.setup().data().join("blobs")).expect("readable") {
            let path = entry.expect("readable").path();
            let mut bytes = std::fs::read(&path).expect("readable");
            if bytes.len() == 200_000 {
                continue;
            }
            bytes[50_000] ^= 1;
            match damage {
                "flipped" => std::fs::write(&path, bytes).expect("writable"),
                _ => std::fs::remove_file(&path).expect("it is there"),
            }
        }
        host.start_again();
        let failure = host.failure(&soon);
        assert_eq!((&failure["code"], &failure["fault"]), (&json!("internal"), &json!("host")), "{failure}");
        assert_eq!(host.job(&soon)["attempts"], 3);
        assert_eq!(host.job(&id)["state"], "scheduled");
        host.still_works();
    }
}

/// Fault: an import that was killed before it had written anything makes every further one say that the folder is not empty.
#[test]
fn an_import_that_was_killed_at_its_beginning_can_be_made_again() {
    let mut host = Host::start();
    host.still_works();
    assert!(host.terminate().success());
    let folder = host.setup().folder().to_owned();
    let path = |name: &str| folder.join(name).display().to_string();
    let (data, file) = (path("data"), path("export.ndjson"));
    let run = |arguments: &[&str]| host.setup().run(arguments);
    assert!(run(&["export", &data, &file]).status.success());
    for left in [&["lock"][..], &["lock", "importing"]] {
        let target = path(&left.join("-"));
        std::fs::create_dir(&target).expect("a folder can be made");
        left.iter().for_each(|name| std::fs::write(format!("{target}/{name}"), "").expect("it can be written"));
        let imported = run(&["import", &file, &target]);
        assert!(imported.status.success(), "{left:?}: {imported:?}");
        assert!(run(&["verify", &target]).status.success());
        // Never over an old one.
        let again = run(&["import", &file, &target]);
        assert!(!again.status.success() && again.stderr.contains("not empty"), "{again:?}");
    }
    // While another process has it, it is not empty either.
    let taken = path("taken");
    std::fs::create_dir(&taken).expect("a folder can be made");
    let lock = std::fs::File::create(format!("{taken}/lock")).expect("it can be written");
    lock.lock().expect("nobody else has it");
    assert!(!run(&["import", &file, &taken]).status.success());
}
