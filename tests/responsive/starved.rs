//! A host on a machine whose processors other programs want, all of them and all the time.

use std::process::{Child, Command, Stdio};
use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::alone;
use crate::support::guest::Guest;
use crate::support::process::is_stopped;
use crate::support::{Host, eventually};

/// Programs for each processor.
const PROGRAMS: usize = 8;

/// Programs that compute until this is dropped. They have a higher priority than jobs.
struct Crowd(Vec<Child>);

impl Crowd {
    /// They are there, and do nothing yet.
    fn gather() -> Self {
        let count = PROGRAMS * available_parallelism().map_or(1, usize::from);
        let program = || {
            let mut shell = Command::new("sh");
            // Should nobody be left to end it, it ends after a minute of computing.
            shell.args(["-c", "ulimit -t 60; kill -STOP $$; while :; do :; done"]).stdin(Stdio::null());
            shell.spawn().expect("there is a shell")
        };
        let crowd = Self((0..count).map(|_| program()).collect());
        let is_still = |program: &Child| is_stopped(format!("/proc/{}/stat", program.id()).as_ref());
        eventually("they all stand still", || crowd.0.iter().all(is_still).then_some(()));
        crowd
    }

    fn rush(&self) {
        for program in &self.0 {
            kill_process(Pid::from_child(program), Signal::CONT).expect("it is our child");
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for program in &mut self.0 {
            // Nobody else ends them.
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

/// A plugin that computes for a quarter of a second or less, with a processor of its own, before it says what it is. No two numbers make
/// files that are alike: code and answer of one would be those of the other.
fn slow(number: u32) -> Vec<u8> {
    let turns = 20_000_000 + number;
    let think = format!(
        "(func $think (local $i i64) (local $x i64)
        (local.set $i (i64.const {turns})) (local.set $x (i64.const -1))
        (loop $more
          (local.set $x (i64.sub (i64.rem_u (local.get $x) (local.get $i)) (i64.const 3)))
          (br_if $more (i64.ne (local.tee $i (i64.sub (local.get $i) (i64.const 1))) (i64.const 3)))))"
    );
    Guest { items: &think, describe: "(call $think) (return (i32.const 16))", ..Guest::GOOD }.component()
}

/// Fault: a file is rejected for good as it took a second to say what it is, which is what others left of the processor.
#[test]
fn a_good_file_is_not_blamed_for_what_others_take() {
    let _alone = alone();
    let host = Host::start();
    let crowd = Crowd::gather();
    // On a busy machine it may be over before anybody has seen it.
    let seen = (1..=5).map(|number| (format!("slow-{number}.wasm"), slow(number))).find(|(name, file)| {
        host.drop_file(name, file);
        let step = eventually("it is asked what it is", || {
            let files = host.get("/v1/plugins").json();
            let file = files["plugins"].as_array().expect("a list").iter().find(|file| file["file"] == *name)?;
            (file["step"] == "describing" || file["state"] != "compiling").then(|| file["step"].clone())
        });
        step == "describing"
    });
    crowd.rush();
    // Not a wait for anything: for so long they want every processor.
    sleep(Duration::from_millis(2_500));
    drop(crowd);
    let file = host.file(&seen.expect("one of five is seen").0);
    assert_eq!(file["state"], "serving", "{file}");
}
