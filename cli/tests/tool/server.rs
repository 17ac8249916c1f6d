//! A server that plays Segment: answers as it is told, and remembers what it was sent.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use serde_json::Value;

/// What to answer.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Each ends with a line break.
    pub(crate) headers: String,
    pub(crate) delay: Duration,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Answer { status, headers: String::new(), delay: Duration::ZERO }
    }

    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Answer { headers: format!("Retry-After: {seconds}\r\n"), ..self }
    }

    pub(crate) fn slow(self, ms: u64) -> Self {
        Answer { delay: Duration::from_millis(ms), ..self }
    }
}

/// What came.
pub(crate) struct Request {
    pub(crate) at: Instant,
    /// Method, path and query.
    pub(crate) line: String,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
    pub(crate) status: u16,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// What was acknowledged.
    pub(crate) fn messages(&self) -> Vec<Value> {
        if self.status != 200 {
            return Vec::new();
        }
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["batch"].as_array().cloned().unwrap_or_default()
    }
}

#[derive(Default)]
struct State {
    script: VecDeque<Answer>,
    usual: Option<Answer>,
    requests: Vec<Request>,
    /// A message whose text holds this is answered with 400.
    poison: Option<String>,
}

/// Serves until the test program ends.
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Server { url, state }
    }

    /// The next answers; then it is 200 again.
    pub(crate) fn answers(&self, answers: impl IntoIterator<Item = Answer>) -> &Self {
        self.state.lock().expect("a lock").script.extend(answers);
        self
    }

    /// What is answered from now on.
    pub(crate) fn always(&self, answer: Answer) -> &Self {
        self.state.lock().expect("a lock").usual = Some(answer);
        self
    }

    pub(crate) fn refuses(&self, poison: &str) -> &Self {
        self.state.lock().expect("a lock").poison = Some(poison.to_owned());
        self
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().expect("a lock").requests)
    }

    /// How many messages were acknowledged so far.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().expect("a lock").requests.iter().map(|request| request.messages().len()).sum()
    }

    /// All messages of all requests.
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.requests().iter().flat_map(Request::messages).collect()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
        let head = head.to_ascii_lowercase();
        let header =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if header("content-encoding") == Some("gzip") {
            let mut unpacked = Vec::new();
            GzDecoder::new(&body[..]).read_to_end(&mut unpacked).expect("gzip");
            body = unpacked;
        }
        let body = String::from_utf8(body).expect("UTF-8");
        let answer = {
            let mut state = state.lock().expect("a lock");
            let is_poisoned = state.poison.as_ref().is_some_and(|poison| body.contains(poison));
            let scripted = state.script.pop_front().or_else(|| state.usual.clone());
            if is_poisoned { Answer::status(400) } else { scripted.unwrap_or_else(|| Answer::status(200)) }
        };
        thread::sleep(answer.delay);
        // Noted before the answer: whoever has read it finds what it sent.
        let status = answer.status;
        state.lock().expect("a lock").requests.push(Request {
            at: Instant::now(),
            line,
            head: head.clone(),
            body,
            status,
        });
        let text = if answer.status == 200 { r#"{"success": true}"# } else { r#"{"code":"x","message":"no"}"# };
        let answer = format!(
            "HTTP/1.1 {} X\r\nContent-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{text}",
            answer.status,
            answer.headers,
            text.len()
        );
        stream.write_all(answer.as_bytes()).ok()?;
    }
}
