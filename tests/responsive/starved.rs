//! A host on a machine whose processors other programs want, all of them and all the time.

use std::process::{Child, Command, Stdio};
use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::alone;
use crate::support::guest::Guest;
use crate::support::{Host, eventually};

/// Programs for each processor.
const PROGRAMS: usize = 8;

/// Programs that compute until this is dropped, and before anything else of the host's that may wait.
struct Crowd(Vec<Child>);

impl Crowd {
    /// They are there, and do nothing yet.
    fn gather() -> Self {
        let count = PROGRAMS * available_parallelism().map_or(1, usize::from);
        let program = || {
            let mut shell = Command::new("sh");
            shell.args(["-c", "kill -STOP $$; while :; do :; done"]).stdin(Stdio::null());
            shell.spawn().expect("there is a shell")
        };
        Self((0..count).map(|_| program()).collect())
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

/// Fault: a file is rejected for good as it took a second to say what it is, which is what others left of the processor.
#[test]
fn a_good_file_is_not_blamed_for_what_others_take() {
    let _alone = alone();
    // A quarter of a second or less with a processor of its own.
    let thinks = "(func $think (local $i i64) (local $x i64)
        (local.set $i (i64.const 20000000)) (local.set $x (i64.const -1))
        (loop $more
          (local.set $x (i64.sub (i64.rem_u (local.get $x) (local.get $i)) (i64.const 3)))
          (br_if $more (i64.ne (local.tee $i (i64.sub (local.get $i) (i64.const 1))) (i64.const 3)))))";
    let slow = Guest { items: thinks, describe: "(call $think) (return (i32.const 16))", ..Guest::GOOD };
    let host = Host::start();
    let crowd = Crowd::gather();
    host.drop_file("slow.wasm", slow.component());
    let is_asked = || {
        let files = host.get("/v1/plugins").json();
        files["plugins"].as_array().expect("a list").iter().any(|file| file["step"] == "describing").then_some(())
    };
    eventually("it is asked what it is", is_asked);
    crowd.rush();
    // Not a wait for anything: for so long they want every processor.
    sleep(Duration::from_millis(2_500));
    drop(crowd);
    let file = host.file("slow.wasm");
    assert_eq!(file["state"], "serving", "{file}");
}
