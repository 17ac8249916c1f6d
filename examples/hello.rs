//! The first event: `cargo run --example hello`
use segment_native::{Client, Config, Error, Object};

fn main() -> Result<(), Error> {
    let mut config = Config::new("WRITE_KEY");
    if let Some(endpoint) = std::env::args().nth(1) {
        config.endpoint = endpoint; // Segment's own, unless one is given
    }
    let client = Client::new(config)?;
    let properties = Object::from([("plan", "pro")]).with("price", 19.99);
    client.track("u-42", "Plan Upgraded", &properties, None)?;
    Ok(()) // dropping the client delivers what is queued
}
