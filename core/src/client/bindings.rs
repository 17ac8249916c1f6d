//! What the C library, the Python module and the tool `segment` need from this crate beyond its public interface. It is
//! **not part of the interface**: any of it may change or go with any release.

use std::time::Duration;

use crate::base::error::Error;
use crate::client::client::Client;
use crate::json::object::Object;
use crate::message::message::Message;

#[cfg(feature = "kill-points")]
pub use crate::base::kill::POINTS as KILL_POINTS;
pub use crate::client::client::Seen;
pub use crate::json::pieces::{Mark, Writer};
pub use crate::message::{doubts, rules};
pub use crate::net::header::split as split_header;
pub use crate::queue::survey;

/// [`Client::send`], and shows the message as it was written, and again if `before_send` replaced it. It is shown
/// before it is queued, so that one that the queue refuses is seen too. An error of `seen` refuses it.
pub fn send_seen(client: &Client, message: &Message<'_>, seen: Seen<'_>) -> Result<(), Error> {
    client.send_seen(message, seen)
}

/// Counts a call that failed before it reached the client, and returns the error: arguments of other languages may be
/// wrong in ways that Rust's cannot.
pub fn refuse(client: &Client, error: Error) -> Error {
    client.refuse(error)
}

/// [`Client::shutdown`], but returns after `wait` at the latest: for a runtime that must run between two waits.
pub fn shutdown_waiting(client: &Client, timeout: Duration, wait: Duration) -> Result<(), Error> {
    client.shutdown_waiting(timeout, wait)
}

/// Whether this thread is inside a callback of this client.
pub fn is_in_callback(client: &Client) -> bool {
    client.is_in_callback()
}

/// Does what dropping the client does, while other references to it may exist: afterwards no callback runs. For a
/// runtime that ends before its objects do.
pub fn end(client: &Client) {
    client.end();
}

/// An empty object that is to be a whole message: it may be a level deeper than one inside a message.
pub fn object_for_message() -> Object {
    Object::for_message()
}

/// An object that is marked from the start.
pub fn failed_object(error: Error) -> Object {
    Object::failed(error)
}

/// Marks an object, unless it is marked already.
pub fn mark(object: &mut Object, error: Error) {
    object.mark(error);
}

/// Sets a member, or replaces its value, by writing it piece by piece; if `write` returns false, there is no such
/// member afterwards. After an error the object is as it was. `is_new` says that there is no member of this name yet,
/// so that none is searched for.
#[inline]
pub fn set_with<E>(
    object: &mut Object,
    name: &str,
    is_new: bool,
    write: impl FnOnce(&mut Writer<'_>) -> Result<bool, E>,
) -> Result<(), E> {
    object.set_with(name, is_new, write)
}
