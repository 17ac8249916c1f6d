//! Strings that C passes in, and buffers that it gets them in.

// Reading memory that C points to.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::path::PathBuf;

use segment_native::Error;
use segment_native::bindings::split_header;

use crate::error::null;

/// A string as C passes it: UTF-8 that ends with a NUL, or NULL. The header says `const char *`
/// (see tools/header).
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct Text(*const c_char);

impl Text {
    /// The text, or none for NULL.
    pub(crate) fn get(&self, argument: &str) -> Result<Option<&str>, Error> {
        if self.0.is_null() {
            return Ok(None);
        }
        // SAFETY: the header asks for a NUL-terminated string that stays as it is until the call returns. Only C can
        // make a `Text`, and the reference lives no longer than the argument itself.
        let text = unsafe { CStr::from_ptr(self.0) };
        utf8(text.to_bytes(), argument).map(Some)
    }

    /// The path, or none for NULL. It is bytes on Unix, where names need not be UTF-8.
    pub(crate) fn path(&self, argument: &str) -> Result<Option<PathBuf>, Error> {
        if self.0.is_null() {
            return Ok(None);
        }
        // SAFETY: as in `get`.
        let bytes = unsafe { CStr::from_ptr(self.0) }.to_bytes();
        if bytes.is_empty() {
            // It is not a way to ask for the default: more likely a variable was not set.
            return Err(Error::invalid(format!("{argument} must not be empty")));
        }
        path(bytes, argument).map(Some)
    }

    /// The text, which must be there.
    pub(crate) fn required(&self, argument: &str) -> Result<&str, Error> {
        self.get(argument)?.ok_or_else(|| null(argument))
    }
}

#[cfg(unix)]
fn path(bytes: &[u8], _: &str) -> Result<PathBuf, Error> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::OsStr::from_bytes(bytes).into())
}

#[cfg(not(unix))]
fn path(bytes: &[u8], argument: &str) -> Result<PathBuf, Error> {
    utf8(bytes, argument).map(Into::into)
}

/// A text of known length, without a NUL.
///
/// # Safety
/// `start` is NULL, or `length` bytes can be read there for as long as the text is used.
pub(crate) unsafe fn with_length<'a>(start: *const c_char, length: usize, argument: &str) -> Result<&'a str, Error> {
    if start.is_null() {
        return Err(null(argument));
    }
    // SAFETY: the caller's promise.
    utf8(unsafe { bytes(start, length, argument) }?, argument)
}

/// A text of this length or, for 0, one that ends with a NUL.
///
/// # Safety
/// `start` is NULL, or such a text can be read there for as long as it is used.
pub(crate) unsafe fn counted<'a>(start: *const c_char, length: usize, argument: &str) -> Result<&'a str, Error> {
    if start.is_null() {
        return Err(null(argument));
    }
    if length == 0 {
        // SAFETY: the caller's promise.
        return utf8(unsafe { CStr::from_ptr(start) }.to_bytes(), argument);
    }
    // SAFETY: the caller's promise.
    utf8(unsafe { bytes(start, length, argument) }?, argument)
}

/// Bytes of known length; none where there is nothing.
///
/// # Safety
/// `start` is NULL, or `length` bytes can be read there for as long as they are used.
pub(crate) unsafe fn bytes<'a>(start: *const c_char, length: usize, argument: &str) -> Result<&'a [u8], Error> {
    if length == 0 {
        return Ok(&[]);
    }
    if start.is_null() {
        return Err(null(argument));
    }
    if length > isize::MAX as usize {
        return Err(Error::invalid(format!("the length of {argument} is too large")));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}

/// The most strings in a list; a longer one probably lacks its NULL.
const LIST_MAX: usize = 1_000;

/// A list of strings that ends with NULL; NULL is an empty one.
///
/// # Safety
/// `list` is NULL or such a list, and all of it can be read for as long as the result is used.
pub(crate) unsafe fn list<'a>(list: *const *const c_char, argument: &str) -> Result<Vec<&'a str>, Error> {
    let mut texts = Vec::new();
    if list.is_null() {
        return Ok(texts);
    }
    for at in 0..LIST_MAX {
        // SAFETY: the caller's promise: NULL has not been met yet.
        let text = unsafe { *list.add(at) };
        if text.is_null() {
            return Ok(texts);
        }
        // SAFETY: as above.
        texts.push(utf8(unsafe { CStr::from_ptr(text) }.to_bytes(), argument)?);
    }
    Err(Error::invalid(format!("{argument} must end with NULL and have no more than {LIST_MAX} entries")))
}

/// Reads `"Name: value", ..., NULL`.
///
/// # Safety
/// `lines` is NULL or a list of strings that ends with NULL, and all of it can be read for as long
/// as the result is used.
pub(crate) unsafe fn headers<'a>(
    lines: *const *const c_char,
    argument: &str,
) -> Result<Vec<(&'a str, &'a str)>, Error> {
    // SAFETY: the caller's promise.
    let lines = unsafe { list(lines, argument) }?;
    let split =
        |line| split_header(line).ok_or_else(|| Error::invalid(format!("{argument}: each must be \"Name: value\"")));
    lines.into_iter().map(split).collect()
}

fn utf8<'a>(bytes: &'a [u8], argument: &str) -> Result<&'a str, Error> {
    // Most texts are ASCII, which is checked much faster.
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    std::str::from_utf8(bytes).map_err(|_| Error::invalid(format!("{argument} must be UTF-8")))
}

/// Copies a text and a NUL into the host's buffer of `capacity` bytes. Callers pass only a text
/// that fits.
///
/// # Safety
/// `buffer` is NULL, or `capacity` bytes can be written there.
pub(crate) unsafe fn copy_out(text: &str, buffer: *mut c_char, capacity: usize) -> Result<(), Error> {
    if buffer.is_null() && capacity > 0 {
        return Err(null("buffer"));
    }
    let length = text.len().min(capacity.saturating_sub(1));
    if capacity > 0 {
        // SAFETY: the caller's promise; `length` is below `capacity`.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), length);
            *buffer.add(length) = 0;
        }
    }
    Ok(())
}

/// A text for C, which cannot hold a NUL.
pub(crate) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_as_the_system_has_it() {
        let path = |text: &CStr| Text(text.as_ptr()).path("spool_dir");
        assert_eq!(Text(std::ptr::null()).path("spool_dir"), Ok(None));
        assert_eq!(path(c"a/b"), Ok(Some("a/b".into())));
        assert_eq!(path(c"").expect_err("refused").message(), "spool_dir must not be empty");
        let latin = path(c"/srv/Andr\xe9");
        if cfg!(unix) {
            let latin = latin.expect("bytes").expect("given");
            assert_eq!(latin.as_os_str().as_encoded_bytes(), b"/srv/Andr\xe9");
        } else {
            assert_eq!(latin.expect_err("refused").message(), "spool_dir must be UTF-8");
        }
    }
}
