//! Bytes that change on the disk: bits rot, someone edits a file. One at a time, anywhere in the data folder.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;

use super::{Dice, setting};
use crate::support::answer::Answer;
use crate::support::{Exit, Host, guest, is_terminal};

/// Fault: damage makes the host panic or hang, or it comes up as if whole but with jobs missing.
#[test]
fn a_damaged_folder_is_served_listed_or_refused_but_never_quietly_emptier() {
    let mut dice = Dice::new("damage");
    let mut host = Host::prepare().with_guest("good", guest::echo()).start();
    let mut before = HashMap::new();
    for size in [0, 10, 5_000, 60_000, 70_000, 200_000] {
        for byte in 0..4 {
            let input = vec![byte; size];
            let id = host.submit_raw("good", input.clone());
            before.insert(id.clone(), (host.wait(&id), input));
        }
    }
    assert!(host.terminate().success());
    let data = host.setup().data();
    let original = host.setup().folder().join("original");
    fs::rename(&data, &original).expect("the host has ended");
    let mut outcomes = [0; 3];
    for _ in 0..setting("CAMPAIGN_FLIPS", 8) {
        let _ = fs::remove_dir_all(&data);
        copy(&original, &data);
        let (file, at) = flip(&data, &mut dice);
        let what = format!("{} at {at}", file.strip_prefix(&data).unwrap_or(&file).display());
        let found = contents(&data);
        let verdict = host.setup().verify();
        assert!(contents(&data) == found, "{what}: verify changed something");
        assert!(matches!(verdict.status.code(), Some(0 | 1)), "{what}: verify broke: {verdict:?}");
        let outcome = look(&mut host, &before, &verdict, &what);
        assert!(outcome != REFUSED || contents(&data) == found, "{what}: refused, but not left as it was");
        outcomes[outcome] += 1;
    }
    let [whole, listed, refused] = outcomes;
    eprintln!("damage: {whole} served whole, {listed} listed as damaged, {refused} refused");
}

const REFUSED: usize = 2;

/// Answers 0 if everything is served as before, 1 if something is missing and that was said, 2 if the host refused.
fn look(host: &mut Host, before: &HashMap<String, (Value, Vec<u8>)>, verdict: &Exit, what: &str) -> usize {
    // Only what this host says counts.
    fs::remove_file(host.setup().folder().join("stderr.log")).expect("every process writes there");
    if let Err(exit) = host.try_start_again() {
        assert_eq!(exit.status.code(), Some(1), "{what}: {exit:?}");
        assert!(exit.stderr.contains("damaged") || exit.stderr.contains("cannot open"), "{what}: {exit:?}");
        return REFUSED;
    }
    let mut missing = 0;
    for (id, (job, output)) in before {
        let answer = host.get(&format!("/v1/jobs/{id}"));
        match answer.status {
            200 => {
                let now = answer.json();
                assert!(is_terminal(&now) && now["state"] == job["state"], "{what}: {now}");
                match Answer::try_of(host.request(Method::GET, &format!("/v1/jobs/{id}/result"))) {
                    Ok(result) if result.status == 200 => {
                        assert!(result.body == *output, "{what}: the result of {id} is not what it was");
                    }
                    Ok(result) => {
                        result.refused(500, "internal");
                        missing += 1;
                    }
                    // Broken off, since what was being read is not what was stored.
                    Err(_) => missing += 1,
                }
            }
            404 | 500 => missing += 1,
            status => panic!("{what}: {status} {}", answer.text()),
        }
    }
    let log = host.process().stderr();
    assert!(
        missing == 0 || log.contains("damaged") || !verdict.status.success(),
        "{what}: {missing} are missing, quietly"
    );
    host.kill();
    usize::from(missing > 0)
}

/// Changes one byte of one file.
fn flip(folder: &Path, dice: &mut Dice) -> (PathBuf, usize) {
    let mut files = Vec::new();
    collect(folder, &mut files);
    // Half of them in the database, where most can go wrong.
    let database: Vec<PathBuf> = files.iter().filter(|file| file.starts_with(folder.join("db"))).cloned().collect();
    let among = if dice.below(2) == 0 { &database } else { &files };
    let file = among[dice.below(among.len() as u64) as usize].clone();
    let mut bytes = fs::read(&file).expect("readable");
    let at = dice.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << dice.below(8);
    fs::write(&file, bytes).expect("writable");
    (file, at)
}

/// Everything in the folder but the lock and what only lives as long as a process.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).expect("readable"))).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        match fs::metadata(&path).expect("it is there") {
            metadata if metadata.is_dir() => collect(&path, files),
            metadata if metadata.len() > 0 => files.push(path),
            _ => {}
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("readable") {
        let (source, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).expect("readable");
        if source.is_dir() {
            copy(&source, &target);
        } else {
            fs::copy(&source, &target).expect("writable");
        }
    }
}
