//! Properties from what you have: what never changes is made once, and what is made on the spot goes on top of it.
use segment_native::{Client, Config, Error, Object, Value};

fn main() -> Result<(), Error> {
    let mut config = Config::new("WRITE_KEY");
    if let Some(endpoint) = std::env::args().nth(1) {
        config.endpoint = endpoint; // Segment's own, unless one is given
    }
    let client = Client::new(config)?;

    let mut properties = Object::new();
    properties.set("version", "2.1.0").set("build", 417).set("beta", true);

    let line = "caves-7 cleared";
    let (coins, seconds) = (31, 214.0);
    let level = [
        ("name", Value::from(&line[..5])),
        ("coins", Value::from(coins)),
        ("minutes", Value::from(seconds / 60.0)),
        ("path", Value::Json("[4, 8, 15]")),
        ("coupon", Value::Null),
    ];
    for (name, value) in level {
        properties.set(name, value);
    }
    client.track("u-42", "Level Completed", &properties, None)
}
