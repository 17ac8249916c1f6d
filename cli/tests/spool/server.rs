//! A server in Segment's place.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::read::GzDecoder;

use crate::patience::until;

/// What becomes of whoever connects.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Answers {
    /// The connection is cut at once, as if nobody was there.
    None,
    /// The request is read, and no answer comes.
    Never,
    Status(u16),
}

struct State {
    answers: Answers,
    events: Vec<String>,
    /// How many requests were read to which no answer comes.
    unanswered: usize,
    /// Who connected last.
    newest: Option<SocketAddr>,
}

/// Serves until the test program ends, always at the same address: the queue of a folder is for one endpoint.
pub(crate) struct Segment {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl Segment {
    pub(crate) fn new(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let state = Arc::new(Mutex::new(State { answers, events: Vec::new(), unanswered: 0, newest: None }));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                let answers = {
                    let mut state = shared.lock().expect("a lock");
                    state.newest = stream.peer_addr().ok();
                    state.answers
                };
                thread::spawn(move || serve(stream, answers, &shared));
            }
        });
        Segment { url, state }
    }

    /// Changes what becomes of whoever connects from now on. Who connected before may be gone and not served yet.
    pub(crate) fn answer(&self, answers: Answers) {
        let address = self.url.strip_prefix("http://").expect("its URL");
        let last = TcpStream::connect(address).expect("it listens").local_addr().ok();
        until("all who came before were let in", || self.state.lock().expect("a lock").newest == last);
        self.state.lock().expect("a lock").answers = answers;
    }

    /// The events that were taken, in order.
    pub(crate) fn events(&self) -> Vec<String> {
        self.state.lock().expect("a lock").events.clone()
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.state.lock().expect("a lock").unanswered
    }
}

/// The events in a text, in order.
pub(crate) fn names(text: &str) -> Vec<String> {
    text.split("\"event\":\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

fn serve(mut stream: TcpStream, answers: Answers, state: &Mutex<State>) {
    if answers == Answers::None {
        return;
    }
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
        request.extend_from_slice(&buffer[..bytes]);
        let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).expect("a length");
        if request.len() - head - 4 < length.trim().parse::<usize>().expect("a number") {
            continue;
        }
        let Answers::Status(status) = answers else {
            state.lock().expect("a lock").unanswered += 1;
            let _ = stream.read(&mut buffer); // until whoever asked has gone
            return;
        };
        let mut body = String::new();
        GzDecoder::new(&request[head + 4..]).read_to_string(&mut body).expect("gzip");
        if status == 200 {
            state.lock().expect("a lock").events.extend(names(&body));
        }
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()); // it may be gone
        return;
    }
}
