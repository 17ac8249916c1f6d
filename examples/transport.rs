//! HTTP of your own, in place of the library's: here over a plain socket. `cargo run --example transport URL`
#![allow(clippy::print_stdout)] // what is sent is for a person to read
use std::io::{self, Read, Write};
use std::net::TcpStream;

use segment_native::{Client, Config, Error, ErrorKind, HttpRequest, HttpResponse};

/// On the delivery thread. An error: there was no answer, so it is tried again.
fn transport(request: &HttpRequest<'_>) -> Result<HttpResponse, Error> {
    println!("{} {}", request.method, request.url);
    exchange(request).map_err(|error| Error::new(ErrorKind::Network, error.to_string()))
}

fn exchange(request: &HttpRequest<'_>) -> io::Result<HttpResponse> {
    let place = request.url.strip_prefix("http://").ok_or(io::Error::other("only plain http"))?;
    let (host, path) = place.split_once('/').ok_or(io::Error::other("a URL without a path"))?;
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(request.timeout))?;
    write!(stream, "{} /{path} HTTP/1.0\r\nHost: {host}\r\n", request.method)?;
    for (name, value) in request.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "Content-Length: {}\r\n\r\n", request.body.len())?;
    stream.write_all(request.body)?;

    let mut answer = Vec::new(); // HTTP/1.0: it ends with the connection
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::Error::other("half an answer"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(HttpResponse {
        status: status.ok_or(io::Error::other("no status"))?,
        headers: head.lines().filter_map(|line| line.split_once(": ")).map(owned).collect(),
        body: body.into(),
        ..HttpResponse::default()
    })
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn main() -> Result<(), Error> {
    let endpoint = std::env::args().nth(1).ok_or(Error::invalid("usage: transport URL"))?;
    let client = Client::new(Config { endpoint, transport: Some(Box::new(transport)), ..Config::new("WRITE_KEY") })?;
    client.track("u-42", "Plan Upgraded", None, None)?;
    Ok(())
}
