//! Waiting: in every call of the host that can block, for a thousand things, past the deadline, and against its own end.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use super::{Attack, TIMEOUT};
use crate::support::guest::Guest;
use crate::support::process::can_mount_apart;
use crate::support::server::Server;
use crate::support::{guest, program};

const HOUR: Duration = Duration::from_secs(3600);
const HOUR_NS: u64 = 3_600_000_000_000;

#[test]
fn an_endless_sleep_is_stopped_and_leaves_its_thread_meanwhile() {
    let host = Attack::by(guest::sleeping(HOUR)).stops();
    let id = host.submit_raw(&format!("attack?timeout={}", TIMEOUT.as_millis()), "");
    let usage = &host.wait_for(&id, "failed")["usage"][0];
    assert!(usage["parked_ms"].as_u64() >= Some(250) && usage["cpu_ms"].as_u64() < Some(200), "{usage}");
}

#[test]
fn a_sleep_until_the_end_of_time_is_stopped() {
    Attack::run("(call $block (call $subscribe_duration (i64.const -1)))").stops();
}

#[test]
fn many_short_sleeps_past_the_deadline_are_stopped() {
    for ns in [0, 1, 5_000_000] {
        let nap = format!("(local.set $i (call $subscribe_duration (i64.const {ns}))) (call $block (local.get $i))");
        Attack::run(&format!("(loop $more {nap} (call $drop_pollable (local.get $i)) (br $more))")).stops();
    }
}

#[test]
fn sleeping_and_spinning_in_turns_is_stopped() {
    let spin = "(local.set $i (i32.const 0)) (loop $spin
        (br_if $spin (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10000000))))";
    let nap = "(local.set $i (call $subscribe_duration (i64.const 1000000))) (call $block (local.get $i)) (call $drop_pollable (local.get $i))";
    Attack::run(&format!("(loop $more {nap} {spin} (br $more))")).stops();
}

/// A body that makes a list of so many things that are ready after so long.
fn waiting_for(count: u32, ns: u64, then: &str) -> String {
    format!(
        "(loop $more
           (i32.store offset=65536 (i32.mul (local.get $i) (i32.const 4)) (call $subscribe_duration (i64.const {ns})))
           (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))
         {then}"
    )
}

#[test]
fn waiting_for_a_thousand_things_is_stopped() {
    let poll = "(call $poll (i32.const 65536) (i32.const 1000) (i32.const 832))";
    Attack::run(&waiting_for(1000, HOUR_NS, poll)).stops();
}

/// Fault: looking at thousands of things that are ready takes the host a while each time, and costs no fuel.
#[test]
fn looking_at_thousands_of_things_for_ever_is_stopped() {
    let poll = "(loop $again (call $poll (i32.const 65536) (i32.const 4500) (i32.const 832)) (br $again))";
    let run = waiting_for(4500, 0, poll);
    let guest = Guest { run: &run, realloc: "(return (i32.const 131072))", pages: 8, ..Guest::GOOD };
    Attack::by(guest.component()).stops();
}

#[test]
fn the_same_thing_a_thousand_times_is_waited_for_once() {
    let run = "(local.set $attempt (call $subscribe_duration (i64.const 3600000000000)))
        (loop $more
          (i32.store offset=65536 (i32.mul (local.get $i) (i32.const 4)) (local.get $attempt))
          (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 10000))))
        (call $poll (i32.const 65536) (i32.const 10000) (i32.const 832))";
    Attack::run(run).stops();
}

#[test]
fn more_things_to_wait_for_than_it_may_hold_are_a_trap() {
    Attack::run("(loop $more (drop (call $subscribe_duration (i64.const 1))) (br $more))").fails("trap", ());
}

/// Fault: a guest that catches everything, and goes on after every error, goes on after its own end.
#[test]
fn a_guest_cannot_catch_its_own_end() {
    for body in ["(loop $spin (br $spin))", "(call $block (call $subscribe_duration (i64.const 3600000000000)))"] {
        let run = format!("(loop $again (block $caught (try_table (catch_all $caught) {body})) (br $again))");
        Attack::run(&run).stops();
    }
}

#[test]
fn blocking_flushes_of_what_nobody_takes_are_stopped() {
    let run = r#"(call $open_artifact (text "a") (text "text/plain") (i32.const 832))
        (loop $more (call $blocking_flush (i32.load (i32.const 836)) (i32.const 848)) (br $more))"#;
    Attack::run(run).stops();
}

/// Fault: at the end of its input a guest waits for more.
#[test]
fn reads_beyond_the_end_of_the_input_do_not_block() {
    let run = r#"(call $input_stream (local.get $input) (i32.const 832))
        (loop $more
          (call $blocking_read (i32.load (i32.const 840)) (i64.const 1000) (i32.const 848))
          (br_if $more (i32.eqz (i32.load8_u (i32.const 848)))))
        (call $block (call $subscribe_input (i32.load (i32.const 840))))
        (return (call $done (text "text/plain") (text "ok")))"#;
    Attack::run(run).succeeds("ok");
}

/// Subscriptions of preview 1 to a clock, from 1024 on: 48 bytes each, all of them an hour away.
#[test]
fn a_program_that_waits_for_a_hundred_clocks_is_stopped() {
    let body = format!(
        "(loop $more
           (i32.store offset=70016 (i32.mul (local.get $i) (i32.const 48)) (i32.const 1))
           (i64.store offset=70024 (i32.mul (local.get $i) (i32.const 48)) (i64.const {HOUR_NS}))
           (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100))))
         (drop (call $poll (i32.const 70000) (i32.const 130000) (i32.const 100) (i32.const 16)))"
    );
    Attack::by(program::module(&body)).stops();
}

/// What a probe needs to send requests to this server.
fn granting(server: &Server) -> String {
    format!("[[http]]\nscheme = \"http\"\nhost = \"127.0.0.1\"\nport = {}\n", server.port())
}

fn probing(server: &Server, line: &str) -> Attack {
    let line = line.replace("PORT", &server.port().to_string());
    Attack { input: line.into_bytes(), ..Attack::by(guest::probe()).granted(&granting(server)) }
}

#[test]
fn waiting_for_an_answer_that_never_comes_is_stopped() {
    let server = Server::start();
    probing(&server, "http GET http 127.0.0.1:PORT /silent").stops();
}

#[test]
fn waiting_for_the_rest_of_an_answer_is_stopped() {
    let server = Server::start();
    probing(&server, "count http 127.0.0.1:PORT /stalled").stops();
}

#[test]
fn waiting_for_the_other_end_of_a_connection_is_stopped() {
    let server = Server::start();
    let toml = format!("[[tcp]]\nhost = \"127.0.0.1\"\nport = {}\n", server.port());
    let line = format!("tcp 127.0.0.1:{} silence", server.port());
    Attack { input: line.into_bytes(), ..Attack::by(guest::probe()).granted(&toml) }.stops();
}

#[test]
fn sending_to_somebody_who_takes_nothing_is_stopped() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be listened on");
    let port = listener.local_addr().expect("it listens").port();
    // Ends with the test's process. What it holds is never read.
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    let toml = format!("[[http]]\nscheme = \"http\"\nhost = \"127.0.0.1\"\nport = {port}\nmethods = [\"POST\"]\n");
    let line = format!("send http 127.0.0.1:{port} 100000000");
    Attack { input: line.into_bytes(), ..Attack::by(guest::probe()).granted(&toml) }.stops();
}

#[test]
fn an_answer_without_end_is_stopped() {
    let server = Server::start();
    let line = format!("count http 127.0.0.1:{} /endless", server.port());
    let toml = format!("network_bytes = 1000000000000\n{}", granting(&server));
    Attack { input: line.into_bytes(), ..Attack::by(guest::probe()).granted(&toml) }.stops();
}

/// Fault: the system's resolver cannot be told to stop, so a guest that waits for a name server that never answers holds a thread, and
/// enough of them hold all those that read and write the files of others.
#[test]
fn waiting_for_a_name_is_stopped_and_takes_no_thread_from_others() {
    if !can_mount_apart() {
        return;
    }
    // Of this process's own among the addresses of loopback.
    let [.., high, low] = std::process::id().to_be_bytes();
    let silent = UdpSocket::bind((Ipv4Addr::new(127, 53, high, low.max(1)), 53)).expect("root may listen there");
    silent.set_read_timeout(Some(Duration::from_secs(60))).expect("it can be set");
    let address = silent.local_addr().expect("it has one").ip();
    let toml = "[[tcp]]\nhost = \"dead.example\"\nport = 80\n[[http]]\nscheme = \"http\"\nhost = \"dead.example\"\n";
    for line in ["resolve dead.example", "http GET http dead.example /"] {
        let attack = Attack { input: line.into(), ..Attack::by(guest::probe()).granted(toml) };
        let setup = attack.setup.with_name_server(address).with_guest("echo", guest::echo());
        let host = Attack { setup, ..attack }.stops();
        assert!(silent.recv(&mut [0; 512]).is_ok(), "it was asked");
        // More of them at once than any pool of threads holds; the other job's input is a file.
        let waiting: Vec<String> = (0..600).map(|_| host.submit_raw("attack", line)).collect();
        host.wait_for(&waiting[599], "running");
        let large = vec![b'x'; 200_000];
        assert!(host.output(&host.submit_raw("echo", large.clone())) == large);
        let threads = format!("/proc/{}/task", host.process().id());
        let threads = std::fs::read_dir(threads).expect("Linux has it").count();
        assert!(threads < 100, "{threads} threads");
        host.still_works();
    }
}

/// Fault: a pipe in a granted folder is opened, which waits until somebody writes to it, on a thread that nothing can stop.
#[test]
fn pipes_sockets_and_devices_in_a_granted_folder_are_not_opened() {
    let attack = Attack::by(guest::probe()).granted("[[folders]]\nguest = \"/g\"\nhost = \"../granted\"");
    let granted = attack.setup.folder().join("granted");
    std::fs::create_dir_all(granted.join("inner")).expect("it can be made");
    std::fs::write(granted.join("file"), "its text").expect("it can be written");
    let made = std::process::Command::new("mkfifo").arg(granted.join("inner/pipe")).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe can be made");
    std::os::unix::fs::symlink("inner/pipe", granted.join("link")).expect("it can be made");
    let _socket = std::os::unix::net::UnixListener::bind(granted.join("socket")).expect("it can be made");
    let mut tries =
        vec!["read /g/inner/pipe", "read /g/link", "read /g/socket", "write /g/inner/pipe", "read /g/inner"];
    // Anybody may make a pipe, and root a device.
    let device = std::process::Command::new("mknod").arg(granted.join("device")).args(["c", "1", "5"]).status();
    if device.is_ok_and(|status| status.success()) {
        tries.push("read /g/device");
    }
    let host = attack.host();
    let id =
        host.submit_raw("attack?timeout=10s", [&tries[..], &["read /g/file", "list /g/inner"]].concat().join("\n"));
    let answer = String::from_utf8(host.output(&id)).expect("it answers in text");
    let answers: Vec<&str> = answer.split('\n').collect();
    let (last, refused) = (&answers[tries.len()..], &answers[..tries.len()]);
    assert_eq!(last, ["its text", "pipe"]);
    assert!(refused.iter().all(|answer| answer.starts_with("error: ")), "{refused:?}");
    let log = host.get(&format!("/v1/jobs/{id}/logs")).text();
    assert!(log.contains("inner/pipe") && log.contains("neither a file nor a folder"), "{log}");
    host.still_works();
}

/// Fault: a file that takes long to open holds the thread of the job that opens it.
#[test]
fn waiting_for_a_granted_file_to_open_is_stopped() {
    let attack = Attack::by(guest::probe()).granted("[[folders]]\nguest = \"/g\"\nhost = \"../granted\"");
    let granted = attack.setup.folder().join("granted");
    std::fs::create_dir_all(&granted).expect("it can be made");
    // Who holds a lease on a file is asked first when somebody opens it, and this one does not answer. The system waits 45 s.
    let hold = "$SIG{IO} = 'IGNORE'; open(my $file, '>', $ARGV[0]) or die; fcntl($file, 1024, 1) or die; $| = 1; print 'held'; sleep 600;";
    let held = std::process::Command::new("perl")
        .args(["-e", hold])
        .arg(granted.join("slow"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut holder) = held else { return eprintln!("skipped: a lease on a file needs perl") };
    let mut said = [0; 4];
    let is_held = holder.stdout.take().is_some_and(|mut output| output.read_exact(&mut said).is_ok());
    if is_held {
        Attack { input: b"read /g/slow".to_vec(), ..attack }.stops();
    } else {
        eprintln!("skipped: this disk has no leases");
    }
    holder.kill().and_then(|()| holder.wait()).expect("it is our child");
}
