//! A server that answers as the seed wants it, and records what it has taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::error::{Error, ErrorKind};
use crate::net::transport::{HttpRequest, HttpResponse, Transport};
use crate::simulator::book::Book;
use crate::simulator::threads::{self, Condvar, Mutex, World};

/// What is wrong with a server, or the way to it, for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mood {
    Good,
    /// It cannot be reached.
    Away,
    /// It takes everything, but the answers are lost.
    Mute,
    Busy,
    Broken,
    /// A web page from something in between.
    Page,
    /// It does not answer in time.
    Slow,
}

const MOODS: [Mood; 6] = [Mood::Away, Mood::Mute, Mood::Busy, Mood::Broken, Mood::Page, Mood::Slow];

pub(crate) struct Server {
    world: Arc<World>,
    book: Arc<Book>,
    /// How many times out of eight it is in a bad mood.
    moody: usize,
    /// How far away it is.
    latency: Duration,
    mood: std::sync::Mutex<(Mood, Duration)>,
}

impl Server {
    pub(crate) fn new(world: Arc<World>, book: Arc<Book>, moody: usize, latency: Duration) -> Self {
        Server { world, book, moody, latency, mood: std::sync::Mutex::new((Mood::Good, Duration::ZERO)) }
    }

    fn mood(&self) -> Mood {
        let now = self.world.now();
        let mut mood = self.mood.lock().expect("no panic");
        if now >= mood.1 {
            *mood = self.world.draw(|random| {
                let next = if random.below(8) < self.moody { random.pick(&MOODS) } else { Mood::Good };
                let longest = Duration::from_secs(if random.once_in(8) { 120 } else { 5 });
                (next, now + random.up_to(longest))
            });
            self.world.note(|| format!("the server: {mood:?}"));
        }
        mood.0
    }

    pub(crate) fn make_peace(&self, time: Duration) {
        *self.mood.lock().expect("no panic") = (Mood::Good, self.world.now() + time);
    }
}

/// The connection of one process to it.
pub(crate) struct Way {
    pub(crate) server: Arc<Server>,
    pub(crate) process: usize,
    interruptions: AtomicU64,
    is_aborted: Mutex<bool>,
    broken_off: Condvar,
}

impl Way {
    pub(crate) fn new(server: Arc<Server>, process: usize) -> Self {
        let (is_aborted, broken_off) = (Mutex::new(false), Condvar::new());
        Way { server, process, interruptions: AtomicU64::new(0), is_aborted, broken_off }
    }

    /// Waits for so long; an error if the request was broken off meanwhile.
    fn wait(&self, time: Duration, since: u64) -> Result<(), Error> {
        let is_whole = |aborted: &mut bool| !*aborted && self.interruptions.load(Ordering::SeqCst) == since;
        let aborted = self.is_aborted.lock().expect("no panic");
        let mut aborted = self.broken_off.wait_timeout_while(aborted, time, is_whole).expect("no panic").0;
        if is_whole(&mut aborted) { Ok(()) } else { Err(Error::new(ErrorKind::Network, "it was broken off")) }
    }

    fn answer(&self, request: &HttpRequest<'_>, since: u64) -> Result<HttpResponse, Error> {
        let Server { world, book, latency, .. } = &*self.server;
        let away = |what: &'static str| Err(Error::new(ErrorKind::Network, what));
        let messages = book.departs(self.process, request.body);
        let latency = world.draw(|random| random.up_to(*latency) / 2);
        let mood = self.server.mood();
        world.note(|| format!("a request with {} messages: {mood:?}", messages.len()));
        self.wait(latency.min(request.timeout), since)?;
        if latency >= request.timeout {
            return away("no answer in time");
        }
        let status = |status| HttpResponse { status, ..HttpResponse::default() };
        let answer = match mood {
            Mood::Away => return away("nothing listens there"),
            Mood::Slow => {
                let taken = world.draw(|random| random.once_in(2));
                if taken {
                    book.arrives(&messages);
                }
                self.wait(request.timeout, since)?;
                return away("no answer in time");
            }
            Mood::Busy => HttpResponse {
                headers: vec![("retry-after".to_owned(), world.draw(|random| 1 + random.below(20)).to_string())],
                ..status(429)
            },
            Mood::Broken => status(world.draw(|random| random.pick(&[500, 502, 503, 408]))),
            Mood::Page => HttpResponse { body: b"<html>log in</html>".to_vec(), ..status(200) },
            _ if messages.iter().any(|message| book.is_refused(message)) => status(400),
            _ => {
                book.arrives(&messages);
                status(200)
            }
        };
        self.wait(latency.min(request.timeout), since)?;
        if mood == Mood::Mute {
            return away("the answer is lost");
        }
        Ok(answer)
    }
}

impl Transport for Way {
    fn exchange(&self, request: &HttpRequest<'_>) -> Result<HttpResponse, Error> {
        self.exchange_since(request, self.interruptions())
    }

    fn exchange_since(&self, request: &HttpRequest<'_>, interruptions: u64) -> Result<HttpResponse, Error> {
        if threads::is_ghost() {
            return Err(Error::new(ErrorKind::Network, "the process is gone"));
        }
        self.wait(Duration::ZERO, interruptions)?;
        self.answer(request, interruptions)
    }

    fn abort(&self) {
        *self.is_aborted.lock().expect("no panic") = true;
        self.broken_off.notify_all();
    }

    fn interrupt(&self) {
        let guard = self.is_aborted.lock().expect("no panic");
        self.interruptions.fetch_add(1, Ordering::SeqCst);
        drop(guard);
        self.broken_off.notify_all();
    }

    fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::SeqCst)
    }
}
