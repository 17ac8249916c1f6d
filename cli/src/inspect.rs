//! `segment inspect`: listen, show what arrives, sum up at the end.

use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::api;
use crate::collector::Collector;
use crate::print::{Printer, Show};

/// Requests that run when Ctrl-C comes have this long to end, and so has the summary if nobody reads what we write.
const GRACE: Duration = Duration::from_secs(1);

/// Receive events on this machine and show what Segment would make of them
///
/// Listens on 127.0.0.1 and answers like Segment's Tracking API. Each event is a line: time of receipt (UTC), type, name,
/// user, size, and the beginning of its properties or traits. What Segment would discard is said below the event.
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
}

impl Options {
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
    let listener = listen(options.port).await?;
    // Before the address is told: whoever reads it may end us at once.
    let interrupt = interrupt()?;

    let mut printer = Printer::new(options.show());
    printer.sentence(&format!("segment inspect listening on http://{}", listener.local_addr()?))?;

    let collector = Arc::new(Collector::new(printer));
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, api::router(collector.clone())).with_graceful_shutdown(async {
        let _ = stopped.await; // an error says that `stop` is gone, which is the same
    });
    let server = tokio::spawn(server.into_future());

    interrupt.await;
    drop(stop);
    let _ = timeout(GRACE, server).await; // what has not ended by now is cut off
    match timeout(GRACE, tokio::task::spawn_blocking(move || collector.sum_up())).await {
        Ok(Ok(written)) => written,
        _ => Err(io::Error::other("the summary was not written, because nobody reads standard output")),
    }
}

async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        let sentence = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(
                    "port {port} is taken by another program; choose another with --port, or any free one with --port 0"
                )
            }
            _ => format!("cannot listen on 127.0.0.1:{port}: {error}"),
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
