//! A server that plays Segment: answers as it is told, and remembers what it was sent.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
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
    /// None: what Segment says with this status.
    pub(crate) body: Option<&'static str>,
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Answer { status, headers: String::new(), delay: Duration::ZERO, body: None }
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
    /// How many messages were acknowledged in them.
    count: usize,
    /// A message whose text holds this is answered with 400.
    poison: Option<String>,
    /// Once so many messages were acknowledged, requests wait.
    limit: Option<usize>,
    /// How many requests wait.
    held: usize,
    /// Grows as those that wait are cut off.
    cuts: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Serves until the test program ends.
pub(crate) struct Server {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let shared = Arc::new(Shared::default());
        let server = Server { url, shared: shared.clone() };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                thread::spawn(move || serve(stream, &shared));
            }
        });
        server
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("a lock")
    }

    /// The next answers; then it is 200 again.
    pub(crate) fn answers(&self, answers: impl IntoIterator<Item = Answer>) -> &Self {
        self.state().script.extend(answers);
        self
    }

    /// What is answered from now on.
    pub(crate) fn always(&self, answer: Answer) -> &Self {
        self.state().usual = Some(answer);
        self
    }

    pub(crate) fn refuses(&self, poison: &str) -> &Self {
        self.state().poison = Some(poison.to_owned());
        self
    }

    /// Has requests wait for their answers once so many messages were acknowledged.
    pub(crate) fn hold_at(&self, count: usize) {
        self.state().limit = Some(count);
    }

    /// How many requests wait for their answers.
    pub(crate) fn held(&self) -> usize {
        self.state().held
    }

    /// Answers what waits, and no longer has anything wait.
    pub(crate) fn release(&self) {
        self.state().limit = None;
        self.shared.changed.notify_all();
    }

    /// Cuts off what waits: it was never acknowledged.
    pub(crate) fn cut(&self) {
        self.state().cuts += 1;
        self.shared.changed.notify_all();
    }

    /// What came since the last time.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let mut state = self.state();
        state.count = 0;
        std::mem::take(&mut state.requests)
    }

    /// How many messages were acknowledged so far.
    pub(crate) fn count(&self) -> usize {
        self.state().count
    }

    /// All messages of all requests.
    pub(crate) fn messages(&self) -> Vec<Value> {
        self.requests().iter().flat_map(Request::messages).collect()
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> Option<()> {
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
            let mut state = shared.state.lock().expect("a lock");
            let cuts = state.cuts;
            state.held += 1;
            let mut state = shared
                .changed
                .wait_while(state, |state| state.cuts == cuts && state.limit.is_some_and(|limit| state.count >= limit))
                .expect("a lock");
            state.held -= 1;
            if state.cuts != cuts {
                return None;
            }
            let is_poisoned = state.poison.as_ref().is_some_and(|poison| body.contains(poison));
            let scripted = state.script.pop_front().or_else(|| state.usual.clone());
            if is_poisoned { Answer::status(400) } else { scripted.unwrap_or_else(|| Answer::status(200)) }
        };
        thread::sleep(answer.delay);
        // Noted before the answer: whoever has read it finds what it sent.
        let request = Request { at: Instant::now(), line, head: head.clone(), body, status: answer.status };
        let count = request.messages().len();
        {
            let mut state = shared.state.lock().expect("a lock");
            state.count += count;
            state.requests.push(request);
        }
        let usual = if answer.status == 200 { r#"{"success": true}"# } else { r#"{"code":"x","message":"no"}"# };
        let text = answer.body.unwrap_or(usual);
        let answer = format!(
            "HTTP/1.1 {} X\r\nContent-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{text}",
            answer.status,
            answer.headers,
            text.len()
        );
        stream.write_all(answer.as_bytes()).ok()?;
    }
}
