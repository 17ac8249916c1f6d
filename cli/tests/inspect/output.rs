//! What stands on standard output, and how the program begins and ends.

use std::net::TcpListener;
#[cfg(unix)]
use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::channel,
    thread,
};

use crate::process::{Collector, inspect, output};
use crate::{batch, good};
#[cfg(unix)]
use crate::{
    http,
    patience::{ended, patience},
};

#[cfg(unix)]
#[test]
fn a_good_event_is_one_line() {
    let collector = Collector::start(&[]);
    collector.accepts("/v1/batch", &batch(&[good("a")]));
    let lines = collector.end("-TERM");
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let (clock, event) = lines[0].split_at(14);
    let shape: String = clock.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert_eq!(shape, "99:99:99.999  ");
    let bytes = good("a").len();
    assert_eq!(event, format!(r#"{:<8}  {:<24}  {:<20}  {bytes:>5} B  {{"n":1}}"#, "track", "Song Played", "u1"));
    assert_eq!(lines[1], "1 requests, 1 events, 0 with warnings, 0 repeated");
}

#[cfg(unix)]
#[test]
fn lines_are_not_longer_than_120_columns() {
    let collector = Collector::start(&[]);
    let long =
        good("a").replace(r#""n":1"#, &format!(r#""n":"{}""#, "日本".repeat(200))).replace("u1", &"u".repeat(99));
    collector.accepts("/v1/batch", &batch(&[long.replace("Song", &"S".repeat(200))]));
    let line = collector.end("-TERM").swap_remove(0);
    let wide = line.chars().filter(|c| "日本".contains(*c)).count();
    assert!((119..=120).contains(&(line.chars().count() + wide)), "{line}");
    assert_eq!(line.matches('…').count(), 3, "{line}");
}

#[cfg(unix)]
#[test]
fn print_shows_the_whole_json_as_it_was_sent() {
    let collector = Collector::start(&["--print"]);
    let event = good("a").replace(r#""n":1"#, r#""z":18446744073709551617,"a":[1.50,{}]"#);
    collector.accepts("/v1/batch", &batch(&[event]));
    let lines = collector.end("-TERM");
    let json = lines[1..lines.len() - 1].join("\n");
    assert!(json.contains("\"z\": 18446744073709551617,\n"), "{json}");
    let event: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(event["messageId"], "a");
    assert!(json.contains("\n                \"properties\": {\n"), "{json}");
}

#[cfg(unix)]
#[test]
fn quiet_shows_the_summary_only() {
    let collector = Collector::start(&["--quiet"]);
    collector.accepts("/v1/batch", &batch(&[good("a"), good("a"), r#"{"type":"page"}"#.to_owned()]));
    assert_eq!(collector.post("/v1/batch", "X-Retry-Count: 1\r\n", b"{").status, 400);
    assert_eq!(collector.post("/v2", "", b"{").status, 404);
    assert_eq!(collector.end("-TERM"), ["2 requests, 3 events, 2 with warnings, 1 repeated"]);
}

#[cfg(unix)]
#[test]
fn control_characters_do_not_reach_the_terminal() {
    for colors in [false, true] {
        let mut command = inspect(&["--port", "0", "--print"]);
        if colors {
            command.env("CLICOLOR_FORCE", "1"); // without it, all escapes are taken out, ours and others
        }
        let collector = Collector::spawn(&mut command);
        let evil = r"E\u001b]0;x\u0007\u009b2J\n";
        let event = good("a").replace("Song Played", evil).replace("u1", "u\u{9b}\u{7f}\u{202e}");
        collector.accepts("/v1/batch", &batch(std::slice::from_ref(&event)));
        let typed = event.replace("\"track\"", r#""\u001b[2J""#);
        collector.accepts("/v1/batch", &batch(&[typed]));
        let retried = batch(&[good("b")]);
        collector.post("/v1/batch", "X-Retry-Count: \u{9b}5m\r\n", retried.as_bytes());
        let text = collector.end("-TERM").join("\n");
        let ours = text.matches("\x1b[").count();
        assert_eq!(text.matches('\x1b').count(), ours, "{text:?}");
        assert_eq!(ours > 0, colors, "{text:?}");
        assert!(!text.contains("\x1b[2J"), "{text:?}");
        let others = text.chars().find(|c| c.is_control() && !matches!(c, '\x1b' | '\n') || *c == '\u{202e}');
        assert_eq!(others, None, "{text:?}");
        assert!(text.contains(r"E\u001b]0;x"), "{text:?}");
        assert!(text.contains(r"u\u009b\u007f\u202e"), "{text:?}");
        assert!(text.contains(r"retry \u009b5m"), "{text:?}");
    }
}

#[test]
fn no_color_is_honoured() {
    let mut collector = Collector::spawn(inspect(&["--port", "0"]).env("NO_COLOR", "1").env("CLICOLOR_FORCE", "1"));
    collector.accepts("/v1/batch", &batch(&[good("a")]));
    assert!(!collector.line("Song Played").contains('\x1b'));
}

#[test]
fn a_retried_request_is_told() {
    let mut collector = Collector::start(&[]);
    let answer = collector.post("/v1/batch", "X-Retry-Count: 2\r\n", batch(&[good("a")]).as_bytes());
    assert_eq!(answer.status, 200);
    collector.line("POST /v1/batch  200  retry 2");
}

#[test]
fn a_port_that_is_taken_is_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its number").port().to_string();
    let output = output(&["--port", &port]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let sentence = String::from_utf8(output.stderr).expect("text");
    assert!(sentence.starts_with(&format!("segment: port {port} is taken")), "{sentence}");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
}

#[test]
fn quiet_and_print_exclude_each_other() {
    assert_eq!(output(&["--quiet", "--print"]).status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_sigterm_sum_up() {
    for signal in ["-INT", "-TERM"] {
        let collector = Collector::start(&[]);
        assert_eq!(collector.end(signal), ["0 requests, 0 events, 0 with warnings, 0 repeated"]);
    }
}

#[cfg(unix)]
#[test]
fn a_request_that_never_ends_does_not_keep_it() {
    use std::io::Write as _;
    let collector = Collector::start(&[]);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", collector.port)).expect("a connection");
    stream.write_all(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").expect("half a request");
    collector.accepts("/v1/batch", &batch(&[good("a")]));
    let lines = collector.end("-TERM");
    assert_eq!(lines.last().map(String::as_str), Some("1 requests, 1 events, 0 with warnings, 0 repeated"));
}

/// A collector whose lines nobody has read since the first, and there are more than a pipe and its own memory for them
/// hold.
#[cfg(unix)]
struct Unread {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
    port: u16,
}

#[cfg(unix)]
impl Unread {
    const REQUESTS: usize = 1500;
    /// Those of one event.
    const LINES: usize = 11;

    fn start() -> Self {
        let mut command = inspect(&["--port", "0", "--print"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        let port = line.trim_end().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        let unread = Unread { child, output: Some(output), port };
        for request in 0..Self::REQUESTS {
            unread.send(&format!("{request:04}"));
        }
        unread
    }

    fn send(&self, id: &str) {
        let event = good(id).replace("Song", &"S".repeat(500));
        assert_eq!(http::send(self.port, "POST", "/v1/batch", "", batch(&[event]).as_bytes()).status, 200);
    }

    fn terminate(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }
}

#[cfg(unix)]
impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
#[test]
fn requests_are_answered_while_nobody_reads_the_lines() {
    let mut unread = Unread::start();
    let output = unread.output.take().expect("its output");
    let (sender, told) = channel();
    thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    // What waits is printed as soon as somebody reads, and what comes then follows.
    let read = || told.recv_timeout(patience()).expect("a line");
    let mut lines: Vec<String> = (0..1000 * Unread::LINES).map(|_| read()).collect();
    unread.send("Last");
    while lines.last().is_none_or(|line| !line.contains("\"messageId\": \"Last\"")) {
        lines.push(read());
    }
    unread.terminate();
    lines.extend(told.iter());
    assert_eq!(ended(&mut unread.child).code(), Some(0));
    let ids: Vec<_> = lines.iter().filter(|line| line.contains("messageId")).collect();
    assert!(ids.len() > 1000 && ids.is_sorted(), "{ids:#?}");
    let missing = lines.iter().filter_map(|line| line.strip_suffix(" lines were left out, because nobody read them"));
    let left_out: usize = missing.map(|count| count.parse::<usize>().expect("a number")).sum();
    assert!(left_out > 0);
    assert_eq!(ids.len() * Unread::LINES + left_out, (Unread::REQUESTS + 1) * Unread::LINES);
    assert_eq!(lines.last().map(String::as_str), Some("1501 requests, 1501 events, 0 with warnings, 0 repeated"));
}

#[cfg(unix)]
#[test]
fn it_ends_though_nobody_reads_the_lines() {
    let mut unread = Unread::start();
    unread.terminate();
    assert_eq!(ended(&mut unread.child).code(), Some(2));
    let mut sentence = String::new();
    unread.child.stderr.take().expect("its errors").read_to_string(&mut sentence).expect("text");
    assert_eq!(sentence, "segment: the summary was not written, because nobody reads standard output\n");
}
