//! A real HTTP server on loopback that does what a script says, and remembers what it got.

#![allow(dead_code, unreachable_pub)] // each test program uses a part of it

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde_json::Value;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    pub headers: Vec<(String, String)>,
    /// The body as sent, before decompression.
    pub raw: Vec<u8>,
    pub raw_bytes: usize,
    /// The body as JSON. A batch must be JSON; on other paths a body that is none is null here.
    pub body: Value,
    /// The size of the body after decompression.
    pub body_bytes: usize,
    /// Which connection it came by, counted from 0.
    pub connection: usize,
    pub at: Instant,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The values of all headers of this name.
    pub fn all_headers(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    pub fn events(&self) -> &[Value] {
        self.body["batch"].as_array().map_or(&[], Vec::as_slice)
    }

    pub fn ids(&self) -> Vec<String> {
        self.events().iter().map(|event| event["messageId"].as_str().expect("a message id").to_owned()).collect()
    }

    pub fn names(&self) -> Vec<&str> {
        self.events().iter().map(|event| event["event"].as_str().unwrap_or_default()).collect()
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// An answer with this status and these header lines.
    Status(u16, Vec<(&'static str, String)>),
    /// An answer with this status, content type and body.
    Body(u16, &'static str, String),
    /// These very bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// The connection is closed without an answer.
    Close,
    /// No answer, until the client gives up.
    Silence,
    /// A good head, then one byte of body now and then, without end.
    Trickle,
    /// A good head, then body without end, as fast as possible.
    Endless,
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply::Status(status, Vec::new())
    }

    pub fn retry_after(status: u16, value: impl Into<String>) -> Reply {
        Reply::Status(status, vec![("Retry-After", value.into())])
    }
}

/// What the server does before it has read a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Whole,
    /// Closes after the head: the kernel resets the connection, because the body is unread.
    OnlyHead,
    /// Closes in the middle of the body.
    HalfBody,
}

type Script = dyn Fn(usize, &Request) -> Reply + Send + Sync;
type ReadScript = dyn Fn(usize) -> Reading + Send + Sync;

struct State {
    requests: Mutex<Vec<Request>>,
    acknowledged: Mutex<HashSet<String>>,
    connections: AtomicUsize,
    /// How many requests were begun, including those that were never read whole.
    begun: AtomicUsize,
    stop: AtomicBool,
    script: Box<Script>,
    reading: Box<ReadScript>,
}

pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
}

impl Server {
    /// A server that answers each request as `script` says, which is given the number of the request, from 0.
    pub fn new(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Server {
        Server::reading(|_| Reading::Whole, script)
    }

    /// A server that acknowledges everything.
    pub fn good() -> Server {
        Server::new(|_, _| Reply::status(200))
    }

    /// A server that may break off while it reads.
    pub fn reading(
        reading: impl Fn(usize) -> Reading + Send + Sync + 'static,
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            requests: Mutex::new(Vec::new()),
            acknowledged: Mutex::new(HashSet::new()),
            connections: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            script: Box::new(script),
            reading: Box::new(reading),
        });
        let serving = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.stop.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let connection = serving.connections.fetch_add(1, Ordering::SeqCst);
                let state = serving.clone();
                std::thread::spawn(move || {
                    let _ = serve(&state, stream, connection);
                });
            }
        });
        Server { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().expect("no panic").clone()
    }

    /// All messages in the order in which they came, each once, because the next client sends again what one that was
    /// ended in the middle of a request has left.
    pub fn events(&self) -> Vec<Value> {
        let mut seen = HashSet::new();
        let events = self.requests().into_iter().flat_map(|request| request.events().to_vec());
        events.filter(|event| seen.insert(event["messageId"].to_string())).collect()
    }

    pub fn begun(&self) -> usize {
        self.state.begun.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The ids of all messages that were acknowledged.
    pub fn acknowledged(&self) -> HashSet<String> {
        self.state.acknowledged.lock().expect("no panic").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // so that it notices
    }
}

/// A URL on loopback where nothing listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

fn serve(state: &State, stream: TcpStream, connection: usize) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let number = state.begun.fetch_add(1, Ordering::SeqCst);
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let header = |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
        let length: usize = header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        match (state.reading)(number) {
            Reading::Whole => {}
            Reading::OnlyHead => return Ok(()),
            Reading::HalfBody => return reader.read_exact(&mut vec![0; length / 2]),
        }
        let mut raw = vec![0; length];
        reader.read_exact(&mut raw)?;
        let mut body = Vec::new();
        if header("content-encoding") == Some("gzip") {
            GzDecoder::new(raw.as_slice()).read_to_end(&mut body)?;
        } else {
            body.clone_from(&raw);
        }
        let line = line.trim_end().to_owned();
        let json = serde_json::from_slice(&body);
        let request = Request {
            body: if line.contains("/v1/batch ") { json.expect("a JSON body") } else { json.unwrap_or_default() },
            line,
            raw_bytes: raw.len(),
            raw,
            body_bytes: body.len(),
            headers,
            connection,
            at: Instant::now(),
        };
        state.requests.lock().expect("no panic").push(request.clone());
        let reply = (state.script)(number, &request);
        if let Reply::Status(200..=299, _) = &reply {
            state.acknowledged.lock().expect("no panic").extend(request.ids());
        }
        if !answer(&mut writer, reply)? {
            return Ok(());
        }
    }
}

/// Whether the connection stays open.
fn answer(to: &mut TcpStream, reply: Reply) -> std::io::Result<bool> {
    let (status, headers, body) = match reply {
        Reply::Status(status, headers) => (status, headers, "{\"success\": true}".to_owned()),
        Reply::Body(status, kind, body) => (status, vec![("Content-Type", kind.to_owned())], body),
        Reply::Raw(bytes) => {
            to.write_all(&bytes)?;
            return Ok(false);
        }
        Reply::Close => return Ok(false),
        Reply::Silence => {
            let _ = to.read(&mut [0]);
            return Ok(false);
        }
        Reply::Trickle => {
            to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
            loop {
                to.write_all(b"x")?;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Reply::Endless => {
            to.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
            loop {
                to.write_all(&chunk)?;
            }
        }
    };
    let body = if matches!(status, 204 | 304) || status < 200 { String::new() } else { body };
    let mut head = format!("HTTP/1.1 {status} Whatever\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if status != 204 {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    to.write_all(format!("{head}\r\n{body}").as_bytes())?;
    Ok(true)
}
