//! Sending one message, and saying what became of it.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use segment_native::{Client, Config, Edit, Error, ErrorKind};
use serde::Serialize;

use crate::connection;
use crate::lock::lock;
use crate::terminal::{complain, say};

/// How it is sent.
pub(crate) struct Sending {
    pub(crate) dry_run: bool,
    pub(crate) strict: bool,
    pub(crate) json: bool,
    pub(crate) wait: Duration,
}

/// What became of the message.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Fate {
    delivered: bool,
    message_id: Option<String>,
    http_status: Option<u16>,
    attempts: u32,
    error: Option<String>,
}

/// Has `give` hand a message to a client, waits until it is settled, and says so. Ends with 0 if Segment has it and
/// with 1 if not.
pub(crate) fn send(
    mut config: Config,
    sending: &Sending,
    what: &str,
    give: impl FnOnce(&Client) -> Result<(), Error>,
) -> io::Result<ExitCode> {
    let fate = Arc::new(Mutex::new(Fate::default()));
    let message = Arc::new(Mutex::new(String::new()));
    config.strict = sending.strict;
    let (of_delivery, of_message, dry_run) = (fate.clone(), message.clone(), sending.dry_run);
    config.on_delivery = Some(Box::new(move |delivery| {
        *lock(&of_delivery) = Fate {
            delivered: delivery.error.is_none(),
            message_id: delivery.message_ids.first().cloned(),
            http_status: delivery.http_status,
            attempts: delivery.attempts,
            error: delivery.error.map(Error::to_string),
        };
    }));
    config.before_send = Some(Box::new(move |json| {
        json.clone_into(&mut lock(&of_message));
        Ok(if dry_run { Edit::Drop } else { Edit::Keep })
    }));
    let client = Client::new(config).map_err(|error| connection::trouble(&error))?;
    if let Err(error) = give(&client) {
        let refused = Fate { error: Some(connection::said(&error)), ..Fate::default() };
        return report(&refused, sending, &format!("{what} was refused"));
    }
    if sending.dry_run {
        say(&lock(&message))?;
        return Ok(ExitCode::SUCCESS);
    }
    let flushed = client.flush(sending.wait);
    let mut fate = std::mem::take(&mut *lock(&fate));
    if let Err(error) = flushed
        && fate.error.is_none()
    {
        let late = format!("no answer said that Segment has it within {} s", sending.wait.as_secs_f64());
        fate.error = Some(if error.kind() == ErrorKind::Timeout { late } else { error.to_string() });
        fate.message_id = id(&lock(&message));
    }
    report(&fate, sending, &format!("{what} was not delivered"))
}

fn report(fate: &Fate, sending: &Sending, failed: &str) -> io::Result<ExitCode> {
    if sending.json {
        say(&serde_json::to_string(fate)?)?;
    } else if let Some(error) = &fate.error {
        complain(&format!("{failed}: {error}"));
    } else {
        let after = if fate.attempts > 1 { format!(", {} requests", fate.attempts) } else { String::new() };
        let status = fate.http_status.map_or(String::new(), |status| format!("HTTP {status}"));
        let id = fate.message_id.as_deref().unwrap_or_default();
        say(&format!("delivered: {} {id} ({status}{after})", failed.trim_end_matches(" was not delivered")))?;
    }
    Ok(if fate.delivered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The id of a message that the library has written.
pub(crate) fn id(message: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        message_id: String,
    }
    serde_json::from_str::<Head>(message).ok().map(|head| head.message_id)
}
