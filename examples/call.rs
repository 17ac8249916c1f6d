//! One request to Segment's HTTP API, and its answer: `cargo run --example call`
#![allow(clippy::print_stdout, clippy::print_stderr)] // the answer is for a person to read
use std::process::ExitCode;

use segment_native::{Client, Config, Error, HttpResponse, Request};

fn main() -> ExitCode {
    match call() {
        Ok(answer) => {
            println!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)); // any status is an answer
            if answer.status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn call() -> Result<HttpResponse, Error> {
    let mut config = Config::new("WRITE_KEY");
    if let Some(endpoint) = std::env::args().nth(1) {
        config.endpoint = endpoint; // Segment's own, unless one is given
    }
    let client = Client::new(config)?;
    let body = br#"{"userId":"u-42","groupId":"g-7"}"#;
    client.call(&Request { path: "/v1/group/", body, ..Request::default() })
}
