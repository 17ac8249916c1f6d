//! `segment call`: one request to one of Segment's HTTP APIs.

use std::io::{self, Read as _};
use std::process::ExitCode;

use clap::ValueEnum;
use segment_native::bindings::split_header;
use segment_native::{Api, Client, HttpResponse, Request};
use serde_json::{Value, json};

use crate::connection::{Connection, trouble};
use crate::terminal::{self, complain, unless_closed};

/// Make one request to one of Segment's HTTP APIs
///
/// The body of the answer goes to standard output, its status to standard error. Ends with 0 if the status is 200 to
/// 299, with 1 if it is another, and with 2 if there was no answer.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// GET, POST, PUT, PATCH or DELETE
    method: String,
    /// Relative to the API: /v1/group
    path: String,
    /// A header; it wins over ours
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// A part of the query; what cannot stand in a URL is escaped
    #[arg(short, long, value_name = "NAME=VALUE")]
    query: Vec<String>,
    /// The body: text, @FILE, or - for standard input
    #[arg(short, long, value_name = "DATA")]
    data: Option<String>,
    /// Which API
    #[arg(long, value_enum, default_value_t = Which::Tracking)]
    api: Which,
    /// For the Public API
    #[arg(long, value_name = "TOKEN", env = "SEGMENT_ACCESS_TOKEN", hide_env_values = true)]
    access_token: Option<String>,
    /// For the Profile API
    #[arg(long, value_name = "TOKEN", env = "SEGMENT_PROFILE_TOKEN", hide_env_values = true)]
    profile_token: Option<String>,
    /// Ask for all pages of a list of the Public or the Profile API, each a line or more
    #[arg(long)]
    all: bool,
    /// Print the headers of the answer, too
    #[arg(short, long)]
    include: bool,
    /// Print status, headers and body as one JSON object, for programs
    #[arg(long, conflicts_with = "include")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Tracking,
    Public,
    Profile,
}

pub(crate) fn run(options: &Options) -> io::Result<ExitCode> {
    let client = options.client()?;
    let headers = options.headers()?;
    let query = options.query.iter().map(|part| escaped(part)).collect::<Vec<String>>().join("&");
    let body = options.body()?;
    let request = Request {
        api: match options.api {
            Which::Tracking => Api::Tracking,
            Which::Public => Api::Public,
            Which::Profile => Api::Profile,
        },
        method: &options.method,
        path: &options.path,
        query: Some(query.as_str()).filter(|query| !query.is_empty()),
        headers: &headers,
        body: &body,
        ..Request::default()
    };
    let mut good = true;
    if options.all {
        for page in client.pages(&request) {
            good &= options.show(&page.map_err(|error| trouble(&error))?)?;
        }
    } else {
        good = options.show(&client.call(&request).map_err(|error| trouble(&error))?)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Options {
    fn client(&self) -> io::Result<Client> {
        let mut config = match self.api {
            Which::Tracking => self.connection.config()?,
            // The other APIs have credentials of their own.
            Which::Public | Which::Profile => {
                self.connection.config_with(self.connection.write_key.as_deref().unwrap_or("none"))
            }
        };
        let is_own_host = !config.endpoint.is_empty() && !config.endpoint.eq_ignore_ascii_case("eu");
        match self.api {
            Which::Public if is_own_host => config.public_endpoint = std::mem::take(&mut config.endpoint),
            Which::Profile if is_own_host => config.profile_endpoint = std::mem::take(&mut config.endpoint),
            _ => {}
        }
        config.access_token.clone_from(&self.access_token);
        config.profile_token.clone_from(&self.profile_token);
        Client::new(config).map_err(|error| trouble(&error))
    }

    fn headers(&self) -> io::Result<Vec<(&str, &str)>> {
        let read = |line: &'_ str| -> io::Result<()> {
            split_header(line).map(|_| ()).ok_or_else(|| {
                // Its value may be a secret.
                io::Error::new(io::ErrorKind::InvalidInput, "--header must be like 'Name: value'")
            })
        };
        self.headers.iter().try_for_each(|line| read(line))?;
        Ok(self.headers.iter().filter_map(|line| split_header(line)).collect())
    }

    fn body(&self) -> io::Result<Vec<u8>> {
        match self.data.as_deref() {
            None => Ok(Vec::new()),
            Some("-" | "@-") => {
                let mut body = Vec::new();
                io::stdin().lock().read_to_end(&mut body)?;
                Ok(body)
            }
            Some(data) => match data.strip_prefix('@') {
                Some(path) => std::fs::read(path)
                    .map_err(|error| io::Error::new(error.kind(), format!("{path} cannot be read: {error}"))),
                None => Ok(data.as_bytes().to_vec()),
            },
        }
    }

    /// Shows an answer; whether it is a success.
    fn show(&self, answer: &HttpResponse) -> io::Result<bool> {
        if self.json {
            terminal::say(&as_json(answer).to_string())?;
        } else {
            complain(&format!("HTTP {}", answer.status));
            let mut out = io::stdout().lock();
            unless_closed(self.write(answer, &mut out))?;
        }
        Ok((200..300).contains(&answer.status))
    }

    fn write(&self, answer: &HttpResponse, out: &mut impl io::Write) -> io::Result<()> {
        if self.include {
            for (name, value) in &answer.headers {
                writeln!(out, "{name}: {value}")?;
            }
            writeln!(out)?;
        }
        out.write_all(&answer.body)?;
        if !answer.body.is_empty() && !answer.body.ends_with(b"\n") {
            writeln!(out)?;
        }
        out.flush()
    }
}

fn as_json(answer: &HttpResponse) -> Value {
    let body = serde_json::from_slice(&answer.body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&answer.body).into_owned()));
    json!({"status": answer.status, "headers": answer.headers, "body": body})
}

/// A part of a query whose value cannot be taken for the next part.
fn escaped(part: &str) -> String {
    let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
    let mut escaped = name.to_owned();
    if let Some(value) = value {
        escaped.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
                byte => escaped.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_break_out_of_its_part() {
        assert_eq!(escaped("a=x&y=z é"), "a=x%26y%3Dz%20%C3%A9");
        assert_eq!(escaped("pagination[count]=2"), "pagination[count]=2");
        assert_eq!(escaped("verbose"), "verbose");
    }
}
