//! How the tests wait: for what becomes true, and never so shortly that only a hang is as slow.

use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::RwLock;
use std::thread;
use std::time::{Duration, Instant};

/// How long something may take before it is taken for a hang. `SEGMENT_TEST_PATIENCE` multiplies it.
pub(crate) fn patience() -> Duration {
    let factor = std::env::var("SEGMENT_TEST_PATIENCE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1.0);
    Duration::from_secs(120).mul_f64(factor)
}

/// Waits until it is true.
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + patience();
    while !is_true() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for the end of a program. One that hangs is killed.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let killer = Killer(child);
    let mut status = None;
    until("the program ends", || {
        status = killer.0.try_wait().expect("asked");
        status.is_some()
    });
    status.expect("it has ended")
}

struct Killer<'a>(&'a mut Child);

impl Drop for Killer<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.kill(); // it may have ended
        }
    }
}

/// What a program says that was started, once it has ended.
pub(crate) fn said(mut child: Child) -> Output {
    let out = child.stdout.take().map(read);
    let err = child.stderr.take().map(read);
    let status = ended(&mut child);
    let text =
        |reader: Option<thread::JoinHandle<Vec<u8>>>| reader.map_or_else(Vec::new, |it| it.join().expect("read"));
    Output { status, stdout: text(out), stderr: text(err) }
}

fn read(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("readable");
        all
    })
}

/// Held while a program is being started: until it runs, it has copies of all our open files, and so of their locks.
pub(crate) static STARTING: RwLock<()> = RwLock::new(());

pub(crate) fn start(command: &mut Command) -> Child {
    let _starting = STARTING.read();
    command.spawn().expect("the program starts")
}

/// Runs a program to its end, with this on standard input.
pub(crate) fn output(command: &mut Command, input: &[u8]) -> Output {
    let mut child = start(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut stdin = child.stdin.take().expect("its input");
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = said(child);
    let _ = writer.join().expect("no panic"); // the program need not read it
    output
}
