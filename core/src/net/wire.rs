//! Connections, which notice an answer while they still send, and reach a proxy within the time limit.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, RustlsConnector,
    ShutdownHandle, SocksConnector, Transport, time,
};
use ureq::{Error, Timeout};

use crate::base::fork::ClosedInChild;

/// How often a connection that accepts no more data is checked for an early answer.
const GLANCE: Duration = Duration::from_millis(100);

/// Makes the connections: through a proxy or not, with TLS or without.
pub(crate) fn connector() -> impl Connector {
    ().chain(SocksConnector::default())
        .chain(Tunnel::default())
        .chain(Tcp)
        .chain(Listening)
        .chain(RustlsConnector::default())
}

// ---- Answers that come early ----

thread_local! {
    /// Whether this thread's request could not be sent whole.
    static IS_CUT_SHORT: Cell<bool> = const { Cell::new(false) };
}

/// Makes a request, and says whether it was sent whole.
pub(crate) fn watched<T>(request: impl FnOnce() -> T) -> (T, bool) {
    IS_CUT_SHORT.set(false);
    (request(), !IS_CUT_SHORT.get())
}

/// A server may answer before it has read a request, and close the connection: because the request is too large, there
/// are too many of them, or the client is not authorized. Writing the rest then fails, although there is an answer to
/// read. So a failed write is not an error yet: the rest is not sent, and the answer is read. Only if there is none
/// does the error count.
///
/// This is below TLS, which would otherwise try forever to send the rest before it reads. A server that speaks TLS,
/// keeps the connection open and stops reading is noticed only by the timeout: this layer cannot see what is inside
/// TLS.
#[derive(Debug)]
struct Listening;

impl<In: Transport> Connector<In> for Listening {
    type Out = Heard<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Heard<In>>, Error> {
        Ok(chained.map(|line| Heard { line, sending: Sending::Works }))
    }
}

#[derive(Debug)]
struct Heard<T> {
    line: T,
    sending: Sending,
}

#[derive(Debug)]
enum Sending {
    Works,
    Failed(Error),
    /// It has failed, but something has been read since.
    Over,
}

impl<T: Transport> Transport for Heard<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.line.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if !matches!(self.sending, Sending::Works) {
            return Ok(());
        }
        match self.line.transmit_output(amount, timeout) {
            Err(error @ Error::Io(_)) => {
                IS_CUT_SHORT.set(true);
                self.sending = Sending::Failed(error);
                Ok(())
            }
            result => result,
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let read = self.line.await_input(timeout);
        match (&read, std::mem::replace(&mut self.sending, Sending::Over)) {
            (Ok(false) | Err(Error::Io(_)), Sending::Failed(error)) => return Err(error),
            (_, Sending::Works) => self.sending = Sending::Works,
            _ => {}
        }
        read
    }

    fn is_open(&mut self) -> bool {
        matches!(self.sending, Sending::Works) && self.line.is_open()
    }

    fn is_tls(&self) -> bool {
        self.line.is_tls()
    }
}

// ---- TCP ----

#[derive(Debug)]
struct Tcp;

impl<In: Transport> Connector<In> for Tcp {
    type Out = Either<In, Line>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        let stream = connect(&details.addrs, until(details), details.timeout.reason)?;
        stream.set_nodelay(details.config.no_delay())?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        let (noted, stream) = (note(&stream), Arc::new(Cuttable(stream)));
        let handle: Weak<dyn ShutdownHandle> = Arc::<Cuttable>::downgrade(&stream);
        (details.register_shutdown)(handle)?;
        Ok(Some(Either::B(Line { _noted: noted, stream, buffers })))
    }
}

/// When the time is up. None: never.
fn until(details: &ConnectionDetails<'_>) -> Option<Instant> {
    match (details.now, details.timeout.after) {
        (time::Instant::Exact(now), time::Duration::Exact(after)) => Some(now + after),
        _ => None,
    }
}

/// How much time is left. None: any.
fn left(until: Option<Instant>, reason: Timeout) -> Result<Option<Duration>, Error> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    if left.is_some_and(|left| left.is_zero()) { Err(Error::Timeout(reason)) } else { Ok(left) }
}

/// Tries one address after the other. One that does not answer leaves the others half of the time.
fn connect(addresses: &[SocketAddr], until: Option<Instant>, reason: Timeout) -> Result<TcpStream, Error> {
    let mut failed = Error::HostNotFound;
    for (n, address) in addresses.iter().enumerate() {
        let is_last = n + 1 == addresses.len();
        let connected = match left(until, reason)? {
            None => TcpStream::connect(address),
            Some(left) => TcpStream::connect_timeout(address, if is_last { left } else { left / 2 }),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) if is_timeout(&error) => failed = Error::Timeout(reason),
            Err(error) => failed = Error::Io(error),
        }
    }
    Err(failed)
}

/// The error differs by system.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// macOS refuses to set a timeout where the other side has closed, but its answer may still be read.
fn settled(set: io::Result<()>) -> io::Result<()> {
    set.or_else(|error| {
        let is_closed = cfg!(target_os = "macos") && error.kind() == ErrorKind::InvalidInput;
        if is_closed { Ok(()) } else { Err(error) }
    })
}

/// A forked child must not keep its parent's connections open.
fn note(stream: &TcpStream) -> Option<ClosedInChild> {
    #[cfg(unix)]
    return ClosedInChild::note(std::os::fd::AsRawFd::as_raw_fd(stream)).ok();
    #[cfg(not(unix))]
    None
}

/// A connection that can be shut down under a request.
#[derive(Debug)]
struct Cuttable(TcpStream);

impl ShutdownHandle for Cuttable {
    fn shutdown(&self) {
        // Data that waits in the kernel must not be sent any more: with this, closing resets the connection.
        #[cfg(unix)]
        {
            use nix::sys::socket::{setsockopt, sockopt::Linger};
            let _ = setsockopt(&self.0, Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
        }
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

#[derive(Debug)]
struct Line {
    // Dropped first: once the stream is closed, its number may be another file's.
    _noted: Option<ClosedInChild>,
    stream: Arc<Cuttable>,
    buffers: LazyBuffers,
}

/// What there is to read, found without waiting and without consuming it.
enum Input {
    Nothing,
    /// There will be none.
    End,
    /// An error in plain HTTP, which the rest of the request would not change. Any other answer may be followed by an
    /// error, or come from a server that goes on reading. TLS data looks different.
    Refusal,
    Something,
}

fn glance(stream: &TcpStream) -> io::Result<Input> {
    let mut bytes = [0; b"HTTP/1.1 4".len()];
    stream.set_nonblocking(true)?;
    let seen = stream.peek(&mut bytes);
    stream.set_nonblocking(false)?;
    match seen {
        Ok(0) => Ok(Input::End),
        Ok(_) if bytes.starts_with(b"HTTP/1.") && (bytes.ends_with(b" 4") || bytes.ends_with(b" 5")) => {
            Ok(Input::Refusal)
        }
        Ok(_) => Ok(Input::Something),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(Input::Nothing),
        Err(error) => Err(error),
    }
}

impl Transport for Line {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let until = deadline(timeout);
        let mut rest = &self.buffers.output()[..amount];
        let mut stream = &self.stream.0;
        while !rest.is_empty() {
            // The server will not read the rest.
            if let Input::Refusal | Input::End = glance(stream)? {
                return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
            }
            let left = left(until, timeout.reason)?;
            settled(stream.set_write_timeout(Some(left.map_or(GLANCE, |left| left.min(GLANCE)))))?;
            match stream.write(rest) {
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let until = deadline(timeout);
        let mut stream = &self.stream.0;
        loop {
            settled(stream.set_read_timeout(left(until, timeout.reason)?))?;
            match stream.read(self.buffers.input_append_buf()) {
                Ok(read) => {
                    self.buffers.input_appended(read);
                    return Ok(read > 0);
                }
                Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        matches!(glance(&self.stream.0), Ok(Input::Nothing))
    }
}

fn deadline(timeout: NextTimeout) -> Option<Instant> {
    match timeout.after {
        time::Duration::Exact(after) => Some(Instant::now() + after),
        time::Duration::NotHappening => None,
    }
}

// ---- Tunnels ----

/// A tunnel through a proxy. The HTTP library allows the whole time anew for each piece of the proxy's answer, so here
/// each step gets only what is left of it.
#[derive(Debug, Default)]
struct Tunnel(ConnectProxyConnector);

impl<In: Transport> Connector<In> for Tunnel {
    type Out = Either<In, Box<dyn Transport>>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        let is_dug = Arc::new(AtomicBool::new(false));
        let (clock, connect, until) = (is_dug.clone(), details.run_connector.clone(), until(details));
        let timed = move |details: &ConnectionDetails<'_>| -> Result<Box<dyn Transport>, Error> {
            let now = time::Instant::now();
            let timeout = NextTimeout { after: capped(details.timeout, until)?, ..details.timeout };
            let line = connect(&ConnectionDetails { now, timeout, ..copy(details) })?;
            Ok(Box::new(Timed { line, until, is_dug: clock.clone() }))
        };
        let tunnel = self.0.connect(&ConnectionDetails { run_connector: Arc::new(timed), ..copy(details) }, chained);
        is_dug.store(true, Ordering::Relaxed);
        tunnel
    }
}

fn copy<'a>(details: &ConnectionDetails<'a>) -> ConnectionDetails<'a> {
    ConnectionDetails {
        uri: details.uri,
        addrs: details.addrs.clone(),
        config: details.config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: details.now,
        timeout: details.timeout,
        current_time: details.current_time.clone(),
        run_connector: details.run_connector.clone(),
        register_shutdown: details.register_shutdown.clone(),
    }
}

/// The timeout, or what is left of the time if that is less.
fn capped(timeout: NextTimeout, until: Option<Instant>) -> Result<time::Duration, Error> {
    Ok(left(until, timeout.reason)?.map_or(timeout.after, |left| timeout.after.min(time::Duration::Exact(left))))
}

#[derive(Debug)]
struct Timed {
    line: Box<dyn Transport>,
    until: Option<Instant>,
    /// Set once the tunnel is there: from then on each request has a timeout of its own.
    is_dug: Arc<AtomicBool>,
}

impl Timed {
    fn timeout(&self, timeout: NextTimeout) -> Result<NextTimeout, Error> {
        if self.is_dug.load(Ordering::Relaxed) {
            return Ok(timeout);
        }
        Ok(NextTimeout { after: capped(timeout, self.until)?, ..timeout })
    }
}

impl Transport for Timed {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.line.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = self.timeout(timeout)?;
        self.line.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = self.timeout(timeout)?;
        self.line.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.line.is_open()
    }

    fn is_tls(&self) -> bool {
        self.line.is_tls()
    }
}
