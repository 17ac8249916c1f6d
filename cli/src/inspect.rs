//! `segment inspect`: listen, show what arrives, sum up at the end.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::Uuid;

use crate::api;
use crate::collector::Collector;
use crate::fault::Faults;
use crate::journal::Journal;
use crate::line::{Lines, Scissors};
use crate::page::{self, Guard, Page};
use crate::plan::Plan;
use crate::print::{Printer, Show};
use crate::terminal;

/// Requests that run when Ctrl-C comes have this long to end.
const GRACE: Duration = Duration::from_secs(1);
/// Then what waits to be printed has this long, in case that nobody reads it.
const LAST_LINES: Duration = Duration::from_secs(3);

/// Receive events on this machine and show what Segment would make of them
///
/// Listens on 127.0.0.1 and answers like Segment's Tracking API. Each event is a line: time of receipt (UTC), type,
/// name, user, size, and the beginning of its properties or traits. What Segment would discard is said below the event.
/// The same address is a web page that shows more, and can switch on faults.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Port to listen on; 0 takes any free one
    #[arg(long, value_name = "N", default_value_t = 8765)]
    port: u16,
    /// Show the whole JSON of each event below its line
    #[arg(long)]
    print: bool,
    /// Show no events, only the address and the summary
    #[arg(long, conflicts_with = "print")]
    quiet: bool,
    /// Address to listen on; where others than this machine reach it, the web page needs a token
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// What the web page must be opened with; made up if --host needs one
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    token: Option<String>,
    /// Tracking plan to compare events with: the rules of one from Segment's Public API, in JSON
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// File to keep what arrives in, so that it is there after the next start
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// How many events the web page shows
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=500_000))]
    keep: u32,
}

/// A token stands in an address and in a cookie.
fn token(token: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    if token.len() < 8 || !token.bytes().all(is_plain) {
        return Err("a token has at least 8 letters, digits and -_.~");
    }
    Ok(token.to_owned())
}

impl Options {
    fn guard(&self, port: u16) -> Guard {
        let is_local = self.host.is_loopback();
        let made_up = || (!is_local).then(|| Uuid::new_v4().simple().to_string());
        Guard { is_local, token: self.token.clone().or_else(made_up), port }
    }

    fn show(&self) -> Show {
        match (self.quiet, self.print) {
            (true, _) => Show::Nothing,
            (false, false) => Show::Lines,
            (false, true) => Show::Json,
        }
    }
}

/// Runs until Ctrl-C or SIGTERM.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(collect(options));
    // A thread that waits for someone to read our output must not keep the process.
    runtime.shutdown_background();
    result
}

async fn collect(options: &Options) -> io::Result<()> {
    let plan = options.plan.as_deref().map(Plan::open).transpose()?;
    let listener = listen(options.host, options.port).await?;
    let journal = Arc::new(Journal::new(options.keep as usize, options.store.as_deref())?);
    // Before the address is told: whoever reads it may end us at once.
    let interrupt = interrupt()?;

    let address = listener.local_addr()?;
    let guard = options.guard(address.port());
    let mut printer = Printer::new(options.show())?;
    let query = guard.token.as_ref().map(|token| format!("/?token={token}")).unwrap_or_default();
    printer.sentence(&format!("segment inspect listening on http://{address}{query}"));
    for sentence in plan.iter().flat_map(|plan| &plan.unchecked) {
        terminal::complain(&format!("tracking plan: {sentence}"));
    }

    let named = |path: &Option<PathBuf>| Some(path.as_ref()?.file_name()?.to_string_lossy().into_owned());
    let faults = Arc::new(Faults::new(journal.clone()));
    let page = Page {
        journal: journal.clone(),
        faults: faults.clone(),
        plan: named(&options.plan).zip(plan.as_ref()).map(|(path, plan)| format!("{path}, {} rules", plan.len())),
        store: named(&options.store),
        guard: Arc::new(guard),
    };
    let collector = Arc::new(Collector::new(printer, journal.clone(), plan));
    let router = page::router(Arc::new(page)).merge(api::router(collector.clone(), faults));
    let router = router.into_make_service_with_connect_info::<Scissors>();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(Lines(listener), router).with_graceful_shutdown(async {
        let _ = stopped.await; // an error says that `stop` is gone, which is the same
    });
    let server = tokio::spawn(server.into_future());

    interrupt.await;
    drop(stop);
    journal.close(); // or the page would listen for as long as we let it
    let _ = timeout(GRACE, server).await; // what has not ended by now is cut off
    match timeout(LAST_LINES, tokio::task::spawn_blocking(move || collector.sum_up())).await {
        Ok(Ok(written)) => written,
        _ => Err(io::Error::other("the summary was not written, because nobody reads standard output")),
    }
}

async fn listen(host: IpAddr, port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((host, port)).await.map_err(|error| {
        let sentence = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "port {port} is taken by another program; choose another with --port, or any free one with --port 0"
                )
            }
            _ => format!("cannot listen on {}: {error}", SocketAddr::new(host, port)),
        };
        io::Error::new(error.kind(), sentence)
    })
}

/// Comes to an end at the first Ctrl-C or SIGTERM after the call.
#[cfg(unix)]
fn interrupt() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut ctrl_c = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = ctrl_c.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Comes to an end at the first Ctrl-C after the call.
#[cfg(windows)]
fn interrupt() -> io::Result<impl Future<Output = ()>> {
    let mut ctrl_c = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        ctrl_c.recv().await;
    })
}
