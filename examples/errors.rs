//! Every way in which you are told that something is wrong: `cargo run --example errors`
#![allow(clippy::print_stdout)] // what went wrong is for a person to read
use std::time::Duration;

use segment_native::{Client, Config, Error, ErrorKind, Object};

fn main() -> Result<(), Error> {
    let endpoint = "https://api.segment.io:port".to_owned();
    if let Err(error) = Client::new(Config { endpoint, ..Config::new("WRITE_KEY") }) {
        println!("no client: {error}");
    }
    let mut config = Config::new("WRITE_KEY");
    if let Some(endpoint) = std::env::args().nth(1) {
        config.endpoint = endpoint; // Segment's own, unless one is given
    }
    let client = Client::new(config)?;

    if let Err(error) = client.track(None, "Order Completed", None, None) {
        println!("{:?}: {error}", error.kind());
    }
    let mut properties = Object::from([("price", f64::NAN)]); // marked, so that its use fails
    match client.track("u-42", "Order Completed", &properties, None) {
        Err(error) if error.kind() == ErrorKind::Invalid => println!("invalid: {error}"),
        other => other?,
    }
    properties.clear(); // takes the mark away
    properties.set("price", 19.99);
    client.track("u-42", "Order Completed", &properties, None)?;
    println!("accepted");

    let flushed = client.flush(Duration::from_secs(5));
    match client.last_problem() {
        Some(problem) => println!("not delivered: {problem}"), // what goes wrong later is no error of a call
        None => println!("{}", flushed.map_or_else(|error| error.to_string(), |()| "delivered".to_owned())),
    }
    Ok(())
}
