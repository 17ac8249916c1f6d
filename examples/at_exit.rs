//! The end of a program: it delivers for a limited time, and says what is left for the next start.
//! `cargo run --example at_exit ENDPOINT FOLDER [SECONDS]`
#![allow(clippy::print_stdout, clippy::print_stderr)] // what is left is for a person to read
use std::time::Duration;

use segment_native::{Client, Config, Error};

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let (Some(endpoint), Some(folder)) = (args.next(), args.next()) else {
        return Err(Error::invalid("usage: at_exit ENDPOINT FOLDER [SECONDS]"));
    };
    let seconds = args.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(3);
    // Without a spool_dir, what is left would be lost.
    let config = Config { endpoint, spool_dir: Some(folder.into()), ..Config::new("WRITE_KEY") };
    let client = Client::new(config)?;

    let worked = work(&client);
    // However the work ended. std::process::exit drops nothing, so this belongs before it.
    if client.shutdown(Duration::from_secs(seconds)).is_err() {
        eprintln!("not all is delivered yet: {}", client.last_problem().unwrap_or_default());
    }
    let stats = client.stats();
    println!("{} delivered, {} kept", stats.delivered, stats.queued);
    worked
}

fn work(client: &Client) -> Result<(), Error> {
    client.track("u-42", "Document Opened", None, None)?;
    client.track("u-42", "Document Saved", None, None)
}
