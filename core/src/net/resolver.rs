//! Looking up names. The system's call cannot be interrupted, so a thread of its own makes it, and there are never many
//! of these threads.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{NextTimeout, time};

use crate::base::signals;

/// The most look-ups at once: one for deliveries, and one for a call to another host.
const LOOK_UPS_MAX: usize = 2;

/// How long addresses stay valid that were found after the request had given up.
const LATE_ANSWER_MAX: Duration = Duration::from_secs(60);

type Found = Result<Vec<SocketAddr>, (io::ErrorKind, String)>;

type AskSystem = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;
type StartThread = dyn Fn(Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync;

/// The look-ups of one client, for all its requests.
#[derive(Clone)]
pub(crate) struct Names(Arc<LookUps>);

struct LookUps {
    known: Mutex<HashMap<String, Arc<LookUp>>>,
    ask: Arc<AskSystem>,
    start: Box<StartThread>,
}

#[derive(Default)]
struct LookUp {
    found: Mutex<Option<(Found, Instant)>>,
    ended: Condvar,
}

impl Default for Names {
    fn default() -> Self {
        Names::with(|address| address.to_socket_addrs().map(Iterator::collect), start)
    }
}

/// Our threads must not get the host's signals.
fn start(run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let _blocked = signals::block();
    std::thread::Builder::new().name("segment-name".to_owned()).spawn(run).map(drop)
}

impl Names {
    /// With the caller in place of the system.
    pub(crate) fn with(
        ask: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
        start: impl Fn(Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Names(Arc::new(LookUps { known: Mutex::default(), ask: Arc::new(ask), start: Box::new(start) }))
    }
}

impl LookUps {
    /// The addresses of a `host:port`. If it is being looked up already, waits for that look-up.
    fn find(&self, address: &str, until: Option<Instant>) -> io::Result<Vec<SocketAddr>> {
        let look_up = self.begun(address)?;
        let found = look_up.wait(until);
        if found.is_some() {
            // The next request asks anew: addresses change.
            self.lock().retain(|_, known| !Arc::ptr_eq(known, &look_up));
        }
        match found {
            None => Err(io::ErrorKind::TimedOut.into()),
            Some(found) => found.map_err(|(kind, text)| io::Error::new(kind, text)),
        }
    }

    /// The look-up of this name that is under way, or that ended late; else a new one.
    fn begun(&self, address: &str) -> io::Result<Arc<LookUp>> {
        let mut known = self.lock();
        known.retain(|_, look_up| look_up.is_worth_keeping());
        if let Some(look_up) = known.get(address) {
            return Ok(look_up.clone());
        }
        if known.values().filter(|look_up| !look_up.has_ended()).count() >= LOOK_UPS_MAX {
            return Err(io::Error::other("other names are being looked up, without an answer yet"));
        }
        let look_up = Arc::new(LookUp::default());
        let (ending, asked, ask) = (Ending(look_up.clone()), address.to_owned(), self.ask.clone());
        let run = move || ending.end(ask(&asked).map_err(|error| (error.kind(), error.to_string())));
        (self.start)(Box::new(run)).map_err(|error| {
            io::Error::new(error.kind(), format!("no thread could be started to look the name up: {error}"))
        })?;
        known.insert(address.to_owned(), look_up.clone());
        Ok(look_up)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<LookUp>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LookUp {
    /// What was found. None: the time is up.
    fn wait(&self, until: Option<Instant>) -> Option<Found> {
        let mut found = self.lock();
        loop {
            if let Some((found, _)) = &*found {
                return Some(found.clone());
            }
            found = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return None,
                Some(left) => self.ended.wait_timeout(found, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.ended.wait(found).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn has_ended(&self) -> bool {
        self.lock().is_some()
    }

    /// Whether it is under way, or was successful: a failed one is made again.
    fn is_worth_keeping(&self) -> bool {
        self.lock().as_ref().is_none_or(|(found, at)| found.is_ok() && at.elapsed() < LATE_ANSWER_MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Found, Instant)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a look-up, whatever happens on its thread.
struct Ending(Arc<LookUp>);

impl Ending {
    fn end(&self, found: Found) {
        *self.0.lock() = Some((found, Instant::now()));
        self.0.ended.notify_all();
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if !self.0.has_ended() {
            self.end(Err((io::ErrorKind::Other, "a bug in looking the name up was contained".to_owned())));
        }
    }
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let address = uri.scheme().zip(uri.authority());
        let address = address.and_then(|(scheme, authority)| DefaultResolver::host_and_port(scheme, authority));
        let address = address.ok_or(Error::HostNotFound)?.to_ascii_lowercase();
        let until = match timeout.after {
            time::Duration::Exact(after) => Some(Instant::now() + after),
            time::Duration::NotHappening => None,
        };
        let found = match address.parse() {
            Ok(address) => vec![address],
            Err(_) => self.0.find(&address, until).map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
                _ => Error::Io(error),
            })?,
        };
        let mut addresses = self.empty();
        // The list has a fixed size; addresses beyond it are not tried.
        let _ = found.into_iter().try_for_each(|address| addresses.try_push(address));
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::patience::{patience, wait_until};

    const SHORT: Duration = Duration::from_millis(20);

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// A look-up as a client makes it, within this time.
    fn resolve(names: &Names, url: &str, time: Duration) -> Result<Vec<SocketAddr>, Error> {
        let timeout = NextTimeout { after: time.into(), ..NextTimeout::default() };
        let url = url.parse().expect("a URL");
        names.resolve(&url, &Config::default(), timeout).map(|addresses| addresses.to_vec())
    }

    fn problem(names: &Names, url: &str, time: Duration) -> String {
        resolve(names, url, time).expect_err("no answer").to_string()
    }

    /// Names whose look-ups take until the test says what is found, and how many there have been.
    fn slow() -> (Names, Sender<io::Result<Vec<SocketAddr>>>, Arc<AtomicUsize>) {
        let (answer, answers) = channel();
        let (asked, answers): (_, Mutex<Receiver<_>>) = (Arc::new(AtomicUsize::new(0)), Mutex::new(answers));
        let count = asked.clone();
        let ask = move |_: &str| {
            count.fetch_add(1, Ordering::SeqCst);
            answers.lock().expect("no panic").recv().expect("the test answers")
        };
        (Names::with(ask, start), answer, asked)
    }

    #[test]
    fn an_address_is_not_looked_up() {
        let names = Names::with(|_| unreachable!("the system is not asked"), |_| unreachable!("no thread is started"));
        for (url, expected) in [
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("https://127.0.0.1/v1", "127.0.0.1:443"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("https://[FE80::1]", "[fe80::1]:443"),
            ("socks5://127.0.0.1", "127.0.0.1:1080"),
        ] {
            assert_eq!(resolve(&names, url, SHORT).expect(url), [address(expected)]);
        }
    }

    #[test]
    fn the_system_finds_names() {
        let found = resolve(&Names::default(), "http://localhost:8080", patience()).expect("it is known");
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 8080), "{found:?}");
    }

    #[test]
    fn a_look_up_that_hangs_is_the_only_one_of_its_name() {
        let (names, answer, asked) = slow();
        for url in ["https://a.example/x", "https://A.example/y", "https://a.example"] {
            assert!(matches!(resolve(&names, url, SHORT), Err(Error::Timeout(_))));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // What it finds in the end is good for the next request, and for that alone.
        answer.send(Ok(vec![address("10.0.0.1:443")])).expect("it is waited for");
        assert_eq!(resolve(&names, "https://a.example", patience()).expect("found"), [address("10.0.0.1:443")]);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        answer.send(Ok(vec![address("10.0.0.2:443")])).expect("it is waited for");
        assert_eq!(resolve(&names, "https://a.example", patience()).expect("found"), [address("10.0.0.2:443")]);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        // A failure is not remembered.
        assert!(matches!(resolve(&names, "https://a.example", SHORT), Err(Error::Timeout(_))));
        answer.send(Err(io::Error::other("no"))).expect("it is waited for");
        assert!(wait_until(|| names.0.lock().values().all(|look_up| look_up.has_ended())));
        answer.send(Ok(vec![address("10.0.0.3:443")])).expect("kept for the next one");
        assert_eq!(resolve(&names, "https://a.example", patience()).expect("found"), [address("10.0.0.3:443")]);
    }

    #[test]
    fn more_names_than_two_are_not_looked_up_at_once() {
        let (names, answer, asked) = slow();
        for url in ["http://a.example", "http://a.example:8080"] {
            assert!(matches!(resolve(&names, url, SHORT), Err(Error::Timeout(_))));
        }
        let expected = "io: other names are being looked up, without an answer yet";
        assert_eq!(problem(&names, "http://c.example", patience()), expected);
        assert!(wait_until(|| asked.load(Ordering::SeqCst) == 2));
        answer.send(Err(io::Error::other("no"))).expect("it is waited for");
        answer.send(Ok(vec![address("10.0.0.1:80")])).expect("one of them is");
        answer.send(Ok(vec![address("10.0.0.1:80")])).expect("kept for the next one");
        assert!(wait_until(|| resolve(&names, "http://c.example", patience()).is_ok()));
    }

    #[test]
    fn requests_at_once_share_a_look_up() {
        let (names, answer, asked) = slow();
        std::thread::scope(|scope| {
            let ask = || resolve(&names, "http://a.example", patience()).expect("found");
            let waiting: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            let is_waited_for = || {
                let known = names.0.lock();
                known.values().any(|look_up| Arc::strong_count(look_up) == 4 + 2)
            };
            assert!(wait_until(is_waited_for));
            answer.send(Ok(vec![address("10.0.0.1:80")])).expect("it is waited for");
            for found in waiting {
                assert_eq!(found.join().expect("no panic"), [address("10.0.0.1:80")]);
            }
        });
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn whatever_goes_wrong_is_an_error() {
        let nothing = Names::with(|_| Ok(Vec::new()), start);
        assert!(matches!(resolve(&nothing, "http://a.example", patience()), Err(Error::HostNotFound)));
        let unknown = Names::with(|_| Err(io::Error::other("not known")), start);
        let panics = Names::with(|_| panic!("a bug in a library"), start);
        let no_thread = Names::with(|_| unreachable!("the system is not asked"), |_| Err(io::Error::other("too many")));
        for _ in 0..2 * LOOK_UPS_MAX {
            assert_eq!(problem(&unknown, "http://a.example", patience()), "io: not known");
            let contained = "io: a bug in looking the name up was contained";
            assert_eq!(problem(&panics, "http://a.example", patience()), contained);
            let no_thread = problem(&no_thread, "http://a.example", patience());
            assert_eq!(no_thread, "io: no thread could be started to look the name up: too many");
        }
        let many = Names::with(|_| Ok(vec![address("10.0.0.1:80"); 100]), start);
        assert_eq!(resolve(&many, "http://a.example", patience()).expect("found").len(), 16);
    }
}
