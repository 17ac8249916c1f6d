//! `segment track` and the other five calls: one message, and what became of it.

use std::io::{self, Read as _};
use std::process::ExitCode;
use std::time::Duration;

use segment_native::{Call, Message, Object, Options as Rest, Time};

use crate::connection::{self, Connection, seconds};
use crate::one::{self, Sending};
use crate::pair;

/// Say who a user is, and what is known about them
#[derive(clap::Args)]
pub(crate) struct Identify {
    /// What is known about the user, as JSON; @FILE reads it from a file
    #[arg(long, value_name = "JSON")]
    traits: Option<String>,
    #[command(flatten)]
    payload: Payload,
    #[command(flatten)]
    common: Common,
}

/// Say what a user did
#[derive(clap::Args)]
pub(crate) struct Track {
    /// What happened: `Order Completed`
    #[arg(long, value_name = "NAME")]
    event: String,
    /// The details, as JSON; @FILE reads it from a file
    #[arg(long, value_name = "JSON")]
    properties: Option<String>,
    #[command(flatten)]
    payload: Payload,
    #[command(flatten)]
    common: Common,
}

/// Which page or screen a user saw.
#[derive(clap::Args)]
pub(crate) struct View {
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// Its category
    #[arg(long)]
    category: Option<String>,
    /// The details, as JSON; @FILE reads it from a file
    #[arg(long, value_name = "JSON")]
    properties: Option<String>,
    #[command(flatten)]
    payload: Payload,
    #[command(flatten)]
    common: Common,
}

/// Say which company, team or account a user belongs to
#[derive(clap::Args)]
pub(crate) struct Group {
    /// The id of the group
    #[arg(long, value_name = "ID")]
    group_id: String,
    /// What is known about the group, as JSON; @FILE reads it from a file
    #[arg(long, value_name = "JSON")]
    traits: Option<String>,
    #[command(flatten)]
    payload: Payload,
    #[command(flatten)]
    common: Common,
}

/// Say that a user was known by another id before
#[derive(clap::Args)]
pub(crate) struct Alias {
    /// The id that the user had before
    #[arg(long, value_name = "ID")]
    previous_id: String,
    #[command(flatten)]
    common: Common,
}

/// What every call but alias has.
#[derive(clap::Args)]
struct Payload {
    /// Further properties or traits. A VALUE that is JSON (19.99, true, null, "text", [1], {"a":1}) is taken as that,
    /// all else as text
    #[arg(value_name = "KEY=VALUE")]
    pairs: Vec<String>,
    /// One whose value is text, even if it looks like a number
    #[arg(short, long, value_name = "KEY=TEXT")]
    string: Vec<String>,
}

/// What every call has.
#[derive(clap::Args)]
struct Common {
    /// Who
    #[arg(long, value_name = "ID")]
    user_id: Option<String>,
    /// Who, as long as there is no user id
    #[arg(long, value_name = "ID")]
    anonymous_id: Option<String>,
    /// When it happened: ISO 8601 with a zone, like 2026-01-02T03:04:05Z [default: now]
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
    /// By which Segment knows repeats [default: a new UUID]
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// The context, as JSON; @FILE reads it from a file
    #[arg(long, value_name = "JSON")]
    context: Option<String>,
    /// Which destinations receive it, as JSON; @FILE reads it from a file
    #[arg(long, value_name = "JSON")]
    integrations: Option<String>,
    /// Print the message instead of sending it
    #[arg(long)]
    dry_run: bool,
    /// Refuse what is only doubtful, too
    #[arg(long)]
    strict: bool,
    /// Print what became of it as JSON, for programs
    #[arg(long)]
    json: bool,
    /// How long to go on trying
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    wait: Duration,
    #[command(flatten)]
    connection: Connection,
}

impl Identify {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let traits = self.payload.object("--traits", self.traits.as_deref())?;
        self.common.send(Call::Identify, None, traits.as_ref(), None)
    }
}

impl Track {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let properties = self.payload.object("--properties", self.properties.as_deref())?;
        self.common.send(Call::Track, Some(&self.event), properties.as_ref(), None)
    }
}

impl View {
    /// `call` is page or screen.
    pub(crate) fn run(&self, call: Call) -> io::Result<ExitCode> {
        let properties = self.payload.object("--properties", self.properties.as_deref())?;
        self.common.send(call, self.name.as_deref(), properties.as_ref(), self.category.as_deref())
    }
}

impl Group {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        let traits = self.payload.object("--traits", self.traits.as_deref())?;
        self.common.send(Call::Group, Some(&self.group_id), traits.as_ref(), None)
    }
}

impl Alias {
    pub(crate) fn run(&self) -> io::Result<ExitCode> {
        self.common.send(Call::Alias, Some(&self.previous_id), None, None)
    }
}

impl Payload {
    /// The object of the option `name`, with the pairs over it; none if there is nothing of it.
    fn object(&self, name: &str, json: Option<&str>) -> io::Result<Option<Object>> {
        let mut object = object(name, json)?;
        let pairs = self.pairs.iter().map(|pair| (pair, false)).chain(self.string.iter().map(|pair| (pair, true)));
        for (pair, is_text) in pairs {
            let object = object.get_or_insert_default();
            let set = if is_text { pair::set_text(object, pair) } else { pair::set(object, pair) };
            set.map_err(wrong)?;
        }
        Ok(object)
    }
}

impl Common {
    fn send(
        &self,
        call: Call,
        subject: Option<&str>,
        payload: Option<&Object>,
        category: Option<&str>,
    ) -> io::Result<ExitCode> {
        let context = object("--context", self.context.as_deref())?;
        let integrations = object("--integrations", self.integrations.as_deref())?;
        let options = Rest {
            timestamp: self.timestamp.as_deref().map(Time::Text),
            anonymous_id: self.anonymous_id.as_deref(),
            message_id: self.message_id.as_deref(),
            context: context.as_ref(),
            integrations: integrations.as_ref(),
            category,
            ..Rest::default()
        };
        let message = Message { call, user_id: self.user_id.as_deref(), subject, payload, options };
        let what = subject.map_or_else(|| call.name().to_owned(), |subject| format!("{} {subject:?}", call.name()));
        let config = if self.dry_run {
            self.connection.config_with(self.connection.write_key.as_deref().unwrap_or("none"))
        } else {
            self.connection.config()?
        };
        let sending = Sending { dry_run: self.dry_run, strict: self.strict, json: self.json, wait: self.wait };
        one::send(config, &sending, &what, |client| client.send(&message))
    }
}

fn object(name: &str, json: Option<&str>) -> io::Result<Option<Object>> {
    let Some(json) = json else { return Ok(None) };
    let text = text(json).map_err(|error| wrong(format!("{name}: {error}")))?;
    Object::parse(&text).map(Some).map_err(|error| wrong(format!("{name}: {}", connection::said(&error))))
}

/// The text of an argument: what it says or, with an `@` in front, what is in the file, `@-` being standard input.
pub(crate) fn text(argument: &str) -> io::Result<String> {
    match argument.strip_prefix('@') {
        None => Ok(argument.to_owned()),
        Some("-") => {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text)?;
            Ok(text)
        }
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| io::Error::new(error.kind(), format!("{path} cannot be read: {error}"))),
    }
}

fn wrong(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, sentence)
}
