//! Servers and lines as they really are: answers that come early, connections that are cut, time that runs out.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)] // options of sockets, in a function of its own below

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::child::{Folder, Forked, NEVER, Program, exit_now, fork, kill, part, patience, program, told, wait_until};
use crate::front::{Authority, ca_file};
use segment_native::{Client, Config, ErrorKind, Object, Request};

/// Longer than what the buffers of a slow line hold.
const LONG: usize = 400_000;

/// A listener with a slow line: its buffers hold little, and a sender of more has to wait.
fn slow_listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    set(&listener, libc::SOL_SOCKET, libc::SO_RCVBUF, 4096);
    // The sender's buffer grows with the size of segments.
    set(&listener, libc::IPPROTO_TCP, libc::TCP_MAXSEG, 536);
    (listener, address)
}

fn set(listener: &TcpListener, level: i32, option: i32, value: i32) {
    let size = u32::try_from(size_of::<i32>()).expect("small");
    // SAFETY: the value is alive, and as long as the given length.
    let result = unsafe { libc::setsockopt(listener.as_raw_fd(), level, option, (&raw const value).cast(), size) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Reads the head of a request. Returns the length of the body, and the part of it that came with the head.
fn read_head(stream: &mut impl Read) -> Option<(usize, Vec<u8>)> {
    let (mut head, mut bytes) = (Vec::new(), [0; 512]);
    loop {
        let read = stream.read(&mut bytes).ok().filter(|read| *read > 0)?;
        head.extend_from_slice(&bytes[..read]);
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = head.split_off(end + 4);
            let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            return Some((length.map_or(0, |length| length.parse().expect("a number")), body));
        }
    }
}

/// What happens to the connection after an early answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Closed: the kernel resets it, because not everything was read.
    Closed,
    /// Kept open, but nothing more is read.
    Kept,
}

/// A server that answers like this as soon as it has seen the head of a request.
fn hasty(answer: &'static str, then: Then) -> String {
    let (listener, address) = slow_listener();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                read_head(&mut stream).expect("a request");
                stream.write_all(answer.as_bytes()).expect("written");
                if then == Then::Kept {
                    std::thread::sleep(NEVER);
                }
            });
        }
    });
    format!("http://{address}")
}

const ANSWERS: [(&str, u16); 3] = [
    ("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig", 413),
    ("HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 429),
    ("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nno", 403),
];

#[test]
fn an_answer_that_comes_before_the_body_was_read_is_seen() {
    let body = vec![b' '; LONG];
    for then in [Then::Closed, Then::Kept] {
        for (answer, status) in ANSWERS {
            if then == Then::Kept && !answer.contains("Content-Length") {
                continue; // without a length, the answer would have no end
            }
            let config = Config { endpoint: hasty(answer, then), proxy: Some(String::new()), ..Config::new("k") };
            let client = Client::new(Config { timeout: patience(), ..config }).expect("good settings");
            for _ in 0..2 {
                let answer = client.call(&Request { path: "/v1/x", body: &body, ..Request::default() });
                let answer = answer.unwrap_or_else(|error| panic!("{status} {then:?}: {error}"));
                assert_eq!(answer.status, status);
                assert_eq!(answer.header("retry-after"), (status == 429).then_some("7"));
                let text = ["big", "", "no"][ANSWERS.iter().position(|(_, own)| *own == status).expect("one")];
                assert_eq!(String::from_utf8_lossy(&answer.body), text);
            }
        }
    }
}

#[test]
fn an_early_answer_that_is_no_refusal_does_not_cut_the_request_short() {
    for early in ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let (listener, address) = slow_listener();
        let (send, received) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let (length, body) = read_head(&mut stream).expect("a request");
            stream.write_all(early.as_bytes()).expect("written");
            let is_whole = stream.read_exact(&mut vec![0; length - body.len()]).is_ok();
            send.send(is_whole.then_some(length)).expect("the test waits");
            if early.contains("100") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("written");
            }
        });
        let config = Config { endpoint: format!("http://{address}"), proxy: Some(String::new()), ..Config::new("k") };
        let client = Client::new(Config { timeout: patience(), ..config }).expect("good settings");
        let body = vec![b' '; LONG];
        let answer = client.call(&Request { path: "/v1/x", body: &body, ..Request::default() });
        assert_eq!(answer.expect("an answer").status, 200);
        assert_eq!(received.recv().expect("no panic"), Some(LONG), "{early}");
    }
}

#[test]
fn a_success_for_half_a_request_does_not_count() {
    let endpoint = hasty("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Then::Closed);
    let config = Config { endpoint, proxy: Some(String::new()), timeout: patience(), ..Config::new("k") };
    let client = Client::new(config).expect("good settings");
    let call = |body: &[u8]| client.call(&Request { path: "/v1/x", body, ..Request::default() });
    let error = call(&[b' '; LONG]).expect_err("the rest was not taken");
    let expected = "the connection was closed before the whole request was sent";
    assert_eq!((error.kind(), error.message()), (ErrorKind::Network, expected));
    assert_eq!(call(b"{}").expect("a short one is sent whole").status, 200);
}

#[test]
fn an_early_answer_is_seen_through_tls() {
    let (listener, address) = slow_listener();
    let folder = Folder::new();
    let ca = Authority::new("Test CA");
    let identity = ca.identity(&["127.0.0.1"]);
    let trusted = ca_file(&folder, "ca.pem", &[&ca.certificate]);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.clone()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), key)
        .expect("a certificate and its key");
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = config.clone();
            std::thread::spawn(move || {
                let mut tls = StreamOwned::new(ServerConnection::new(config).expect("settings"), stream);
                if read_head(&mut tls).is_some() {
                    tls.write_all(ANSWERS[0].0.as_bytes()).expect("written");
                    tls.flush().expect("written");
                }
            });
        }
    });
    let config = Config {
        endpoint: format!("https://{address}"),
        proxy: Some(String::new()),
        ca_file: Some(trusted),
        timeout: patience(),
        ..Config::new("k")
    };
    let client = Client::new(config).expect("good settings");
    let body = vec![b' '; LONG];
    let answer = client.call(&Request { path: "/v1/x", body: &body, ..Request::default() }).expect("an answer");
    assert_eq!((answer.status, answer.body.as_slice()), (413, b"big".as_slice()));
}

#[test]
fn a_batch_that_is_too_large_for_a_gateway_is_halved_though_it_was_never_read() {
    let (listener, address) = slow_listener();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (length, body) = read_head(&mut stream)?;
                if length > 100_000 {
                    return stream.write_all(ANSWERS[0].0.as_bytes()).ok();
                }
                stream.read_exact(&mut vec![0; length - body.len()]).ok()?;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()
            });
        }
    });
    let config = Config {
        endpoint: format!("http://{address}"),
        proxy: Some(String::new()),
        gzip: false,
        flush_at: 1000,
        flush_interval: NEVER,
        timeout: patience(),
        ..Config::new("k")
    };
    let client = Client::new(config).expect("good settings");
    let properties = Object::new().with("text", &"x".repeat(20_000));
    for _ in 0..20 {
        client.track("u", "e", &properties, None).expect("taken");
    }
    client.flush(patience()).expect("settled");
    let stats = client.stats();
    assert_eq!((stats.delivered, stats.failed), (20, 0), "{stats:?}");
    assert!(stats.requests < 20, "each size is tried once: {stats:?}");
}

/// When the user opts out the kernel does not send the rest of what it has: the connection is reset.
#[test]
fn an_opt_out_breaks_off_what_is_being_sent() {
    for uploads in [1, 4] {
        let (listener, address) = slow_listener();
        let (begun, begins) = std::sync::mpsc::channel();
        let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let (length, body) = read_head(&mut stream).expect("a request");
            begun.send(()).expect("the test waits");
            goes_on.recv_timeout(patience()).expect("told");
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            (length, body.len() + rest.len())
        });
        let config = Config {
            endpoint: format!("http://{address}"),
            gzip: false,
            uploads,
            timeout: NEVER,
            ..Config::new("WRITE_KEY")
        };
        let client = Client::new(config).expect("good settings");
        let large = Object::from([("filler", "x".repeat(15_000).as_str())]);
        // Small enough for the kernel to take all of it at once.
        client.track("u", "E", &large, None).expect("taken");
        let _ = client.flush(Duration::ZERO);
        begins.recv_timeout(patience()).expect("a request");
        client.opt_out().expect("nothing to keep");
        assert!(wait_until(|| client.stats().uploads == 0), "its thread has given it up");
        go_on.send(()).expect("it waits");
        let (length, arrived) = server.join().expect("no panic");
        assert!(arrived < length, "all of it arrived: {arrived} of {length}");
    }
}

/// Forks with a connection that is kept for the next request, and ends its client, while the child stays alive.
fn fork_with_a_connection() {
    let client = Client::new(Config { endpoint: told("URL"), ..Config::new("WRITE_KEY") }).expect("good settings");
    client.track("u", "E", None, None).expect("taken");
    client.flush(patience()).expect("delivered");
    let parent = std::process::id();
    match fork() {
        Forked::Child => {
            while std::os::unix::process::parent_id() == parent {
                std::thread::sleep(Duration::from_millis(5));
            }
            exit_now(0);
        }
        Forked::Parent(pid) => {
            drop(client);
            assert!(wait_until(|| Path::new(&told("SEEN")).exists()));
            kill(pid, libc::SIGKILL);
        }
    }
}

/// The programs that fork.
#[test]
fn child_main() {
    if part().is_some() {
        fork_with_a_connection();
    }
}

/// A child with a copy of a connection would keep it open after its parent has closed it.
#[test]
fn a_child_has_no_connection_of_its_parents() {
    let folder = Folder::new();
    let seen = folder.beside("seen");
    let (listener, address) = slow_listener();
    let told = [("URL", format!("http://{address}")), ("SEEN", seen.clone())];
    let told: Vec<(&str, &str)> = told.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let program = Program::start(program("fork with a connection", &told));
    let (mut stream, _) = listener.accept().expect("a connection");
    let (length, mut body) = read_head(&mut stream).expect("a request");
    while body.len() < length {
        let mut more = [0; 512];
        let read = stream.read(&mut more).expect("the rest");
        body.extend_from_slice(&more[..read]);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("written");
    stream.set_read_timeout(Some(patience())).expect("set");
    assert_eq!(stream.read(&mut [0]).expect("it is closed for all"), 0);
    std::fs::write(seen, "").expect("written");
    program.succeeded();
}
