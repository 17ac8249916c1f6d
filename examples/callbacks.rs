//! What a client tells you, and what you may change: a log, what became of messages, and a secret that never leaves.
#![allow(clippy::print_stdout)] // the log is for a person to read
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use segment_native::{Client, Config, Edit, Error, Level, Object};
use serde_json::Value;

/// On the thread that tracks; the others on the delivery thread.
fn without_token(json: &str) -> Result<Edit, Error> {
    let mut message: Value = serde_json::from_str(json).map_err(|error| Error::invalid(error.to_string()))?;
    match message.pointer_mut("/properties/token") {
        Some(token) => *token = Value::from("********"),
        None => return Ok(Edit::Keep),
    }
    Ok(Edit::Replace(message.to_string()))
}

fn main() -> Result<(), Error> {
    let delivered = Arc::new(AtomicUsize::new(0));
    let count = delivered.clone();
    let mut config = Config::new("WRITE_KEY");
    if let Some(endpoint) = std::env::args().nth(1) {
        config.endpoint = endpoint; // Segment's own, unless one is given
    }
    config.before_send = Some(Box::new(without_token));
    config.on_log = Some(Box::new(|level, message| match level {
        Level::Error => println!("error: {message}"),
        Level::Warning => println!("warning: {message}"),
        _ => {}
    }));
    config.on_delivery = Some(Box::new(move |delivery| match delivery.error {
        None => _ = count.fetch_add(delivery.message_ids.len(), Ordering::Relaxed),
        Some(error) => println!("{} messages are lost: {error}", delivery.message_ids.len()),
    }));
    let client = Client::new(config)?;

    let order = Object::from([("token", "s3cr\"et")]).with("revenue", "19.99"); // should be a number: the log warns
    client.track("u-42", "Order Completed", &order, None)?;
    client.track("u-42", "Signed Out", None, None)?;
    drop(client); // after it no callback runs
    println!("{} delivered", delivered.load(Ordering::Relaxed));
    Ok(())
}
