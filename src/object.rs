//! Objects: properties, traits, context.

// An object may be put into itself, so two pointers may be to one object; and JSON is written to the caller's memory.
#![allow(unsafe_code)]

use std::ffi::c_char;

use segment_native::{Error, Object, Value, bindings};

use crate::error::{guard_or, null, remember};
use crate::text::{self, Text};

/// A JSON object: properties, traits, context. A setter that fails marks the object, and the call
/// that uses it reports why. Setting a key again replaces its value. An object may be used in any
/// number of calls; it is for one thread at a time.
pub struct segment_object(pub(crate) Object);

/// Changes an object. A failure marks it, and is this thread's last error too.
pub(crate) fn change(object: Option<&mut segment_object>, change: impl FnOnce(&mut Object) -> Result<(), Error>) {
    guard_or((), || {
        let object = &mut object.ok_or_else(|| null("object"))?.0;
        let before = object.error().is_some();
        if let Err(error) = change(object) {
            bindings::mark(object, error);
        }
        match object.error() {
            Some(error) if !before => Err(error.clone()),
            _ => Ok(()),
        }
    });
}

/// Changes an object by another one, which may be the same.
fn change_by(
    object: Option<&mut segment_object>,
    other: *const segment_object,
    name: &Text,
    argument: &str,
    by: impl FnOnce(&mut Object, &str, &Object),
) {
    let same = object.as_deref().is_some_and(|object| std::ptr::eq(object, other));
    change(object, |object| {
        let name = name.required(argument)?;
        if other.is_null() {
            return Err(null(name));
        }
        if same {
            let copy = object.clone();
            by(object, name, &copy);
        } else {
            // SAFETY: the header asks for an object that no thread changes until the call returns, and it is another
            // one.
            by(object, name, unsafe { &(*other).0 });
        }
        Ok(())
    });
}

fn set<'a>(object: Option<&mut segment_object>, key: &Text, value: impl Into<Value<'a>>) {
    change(object, |object| {
        object.set(key.required("key")?, value);
        Ok(())
    });
}

/// A new, empty object. Free it with segment_object_free.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_new() -> Option<Box<segment_object>> {
    guard_or(None, || Ok(Some(Box::new(segment_object(Object::new())))))
}

/// An object from JSON text. If the text is not a JSON object, the object returned is marked: the
/// call that uses it says why.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_parse(json: Text) -> Option<Box<segment_object>> {
    guard_or(None, || {
        let parsed = json.required("json").and_then(Object::parse);
        let object = parsed.unwrap_or_else(|error| {
            remember(&error);
            bindings::failed_object(error)
        });
        Ok(Some(Box::new(segment_object(object))))
    })
}

/// Sets a text.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_set_str(object: Option<&mut segment_object>, key: Text, value: Text) {
    change(object, |object| {
        let key = key.required("key")?;
        object.set(key, value.required(key)?);
        Ok(())
    });
}

/// Sets an integer; it stays exact to 64 bits.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_set_int(object: Option<&mut segment_object>, key: Text, value: i64) {
    set(object, &key, value);
}

/// Sets a number, written as the shortest text that reads back the same. NaN and the infinities
/// mark the object.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_set_double(object: Option<&mut segment_object>, key: Text, value: f64) {
    set(object, &key, value);
}

/// Sets true or false.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_set_bool(object: Option<&mut segment_object>, key: Text, value: bool) {
    set(object, &key, value);
}

/// Sets null. As a trait it overwrites what Segment has stored.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_set_null(object: Option<&mut segment_object>, key: Text) {
    set(object, &key, Value::Null);
}

/// Sets a time, milliseconds since 1970, written as ISO 8601 in UTC.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_set_time(object: Option<&mut segment_object>, key: Text, unix_ms: i64) {
    set(object, &key, Value::TimeMs(unix_ms));
}

/// Sets any JSON value. It is checked, and stored as it is except for the white space between its
/// parts.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_set_json(object: Option<&mut segment_object>, key: Text, json: Text) {
    change(object, |object| {
        let key = key.required("key")?;
        object.set(key, Value::Json(json.required(key)?));
        Ok(())
    });
}

/// Sets a copy of another object, or of the object itself.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_set_object(
    object: Option<&mut segment_object>,
    key: Text,
    value: *const segment_object,
) {
    change_by(object, value, &key, "key", |object, key, value| {
        object.set(key, value);
    });
}

/// Appends a copy of an object to the list of this name, which is created if missing; if the value
/// is not a list, the object is marked.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_push_object(
    object: Option<&mut segment_object>,
    list: Text,
    item: *const segment_object,
) {
    change_by(object, item, &list, "list", |object, list, item| {
        object.push(list, item);
    });
}

/// Appends a text to the list of this name, which is created if missing; if the value is not a
/// list, the object is marked.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_push_str(object: Option<&mut segment_object>, list: Text, item: Text) {
    change(object, |object| {
        let list = list.required("list")?;
        object.push(list, item.required(list)?);
        Ok(())
    });
}

/// Appends any JSON value, as segment_object_set_json sets it, to the list of this name, which is
/// created if missing; if the value is not a list, the object is marked.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_push_json(object: Option<&mut segment_object>, list: Text, json: Text) {
    change(object, |object| {
        let list = list.required("list")?;
        object.push(list, Value::Json(json.required(list)?));
        Ok(())
    });
}

/// The JSON of a member, for segment_set_context, say; with a NULL key that of the whole object.
/// Returns its length without the NUL (0: there is no such member, or an error: the object is
/// marked) and writes a copy with a NUL if it fits into `capacity` bytes; else the buffer becomes
/// "".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segment_object_get_json(
    object: Option<&segment_object>,
    key: Text,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    guard_or(0, || {
        let read = || {
            let object = &object.ok_or_else(|| null("object"))?.0;
            match (object.error(), key.get("key")?) {
                (Some(error), _) => Err(error.clone()),
                (None, Some(key)) => Ok(object.get_json(key).unwrap_or_default().to_owned()),
                (None, None) => object.to_json(),
            }
        };
        let found = read();
        let fits = found.as_ref().map_or("", |json| if json.len() < capacity { json.as_str() } else { "" });
        // SAFETY: the header asks for NULL or `capacity` bytes that can be written.
        unsafe { text::copy_out(fits, buffer, capacity) }?;
        found.map(|json| json.len())
    })
}

/// Empties an object for reuse; marks are forgotten, memory is kept.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_clear(object: Option<&mut segment_object>) {
    change(object, |object| {
        object.clear();
        Ok(())
    });
}

/// Frees an object; NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn segment_object_free(object: Option<Box<segment_object>>) {
    guard_or((), || {
        drop(object);
        Ok(())
    });
}
