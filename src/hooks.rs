//! The host's callbacks: the core calls them, C implements them.

// Calling functions that C gave us.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_void};

use segment_native::{BeforeSend, Delivery, Edit, Error, Level, OnDelivery, OnLog};

use crate::error::{segment_status, status_of};
use crate::text::c_text;

/// What became of some messages.
#[repr(C)]
pub struct segment_delivery {
    /// sizeof(segment_delivery)
    pub size: u32,
    /// SEGMENT_OK: Segment acknowledged them. SEGMENT_QUEUE_FULL: they were dropped for room.
    pub status: segment_status,
    /// Of the last answer; 0: there was none.
    pub http_status: i32,
    /// How many requests were made for them.
    pub attempts: u32,
    /// How many messages.
    pub message_count: u32,
    /// The size of the last request's body, as sent; 0 if no longer known.
    pub body_bytes: u32,
    /// message_count of them.
    pub message_ids: *const *const c_char,
    /// A sentence; NULL on success.
    pub error: *const c_char,
}

type DeliveryCallback = unsafe extern "C" fn(userdata: *mut c_void, delivery: *const segment_delivery);
type LogCallback = unsafe extern "C" fn(userdata: *mut c_void, level: i32, message: *const c_char);

/// The pointer that C wants back with every callback.
#[derive(Clone, Copy)]
pub(crate) struct Userdata(*mut c_void);

// SAFETY: we only hand it back. The header says on which threads the callbacks run, and that the pointer is theirs.
unsafe impl Send for Userdata {}
// SAFETY: as above.
unsafe impl Sync for Userdata {}

impl Userdata {
    pub(crate) fn new(userdata: *mut c_void) -> Self {
        Userdata(userdata)
    }

    pub(crate) fn get(&self) -> *mut c_void {
        self.0
    }
}

pub(crate) fn on_delivery(callback: Option<DeliveryCallback>, userdata: *mut c_void) -> Option<OnDelivery> {
    let callback = callback?;
    let userdata = Userdata(userdata);
    Some(Box::new(move |delivery: &Delivery<'_>| {
        let ids: Vec<CString> = delivery.message_ids.iter().map(|id| c_text(id)).collect();
        let ids: Vec<*const c_char> = ids.iter().map(|id| id.as_ptr()).collect();
        let error = delivery.error.map(|error| c_text(error.message()));
        let told = segment_delivery {
            size: size_of::<segment_delivery>() as u32,
            status: delivery.error.map_or(segment_status::SEGMENT_OK, status_of),
            http_status: delivery.http_status.map_or(0, i32::from),
            attempts: delivery.attempts,
            message_count: ids.len() as u32,
            body_bytes: u32::try_from(delivery.body_bytes).unwrap_or(u32::MAX),
            message_ids: ids.as_ptr(),
            error: error.as_ref().map_or(std::ptr::null(), |error| error.as_ptr()),
        };
        // SAFETY: the header asks for a function of this type that neither throws nor jumps; all pointers in `told`
        // live until it returns.
        unsafe { callback(userdata.get(), &told) };
    }))
}

pub(crate) fn on_log(callback: Option<LogCallback>, userdata: *mut c_void) -> Option<OnLog> {
    let callback = callback?;
    let userdata = Userdata(userdata);
    Some(Box::new(move |level: Level, line: &str| {
        let line = c_text(line);
        // SAFETY: the header asks for a function of this type that neither throws nor jumps; the line lives until it
        // returns.
        unsafe { callback(userdata.get(), level as i32, line.as_ptr()) };
    }))
}

type EditCallback = unsafe extern "C" fn(userdata: *mut c_void, json: *const c_char) -> *const c_char;

pub(crate) fn before_send(callback: Option<EditCallback>, userdata: *mut c_void) -> Option<BeforeSend> {
    let callback = callback?;
    let userdata = Userdata(userdata);
    Some(Box::new(move |json: &str| {
        let given = c_text(json);
        // SAFETY: the header asks for a function of this type that neither throws nor jumps; the text lives until it
        // returns.
        let edited = unsafe { callback(userdata.get(), given.as_ptr()) };
        if edited.is_null() {
            return Ok(Edit::Drop);
        }
        if edited == given.as_ptr() {
            return Ok(Edit::Keep);
        }
        // SAFETY: the header asks for NULL, the text that was given, or a string that can be read until we return to
        // the caller.
        let edited = unsafe { CStr::from_ptr(edited) };
        match edited.to_str() {
            Ok(edited) => Ok(Edit::Replace(edited.to_owned())),
            Err(_) => Err(Error::invalid("what before_send returned must be UTF-8")),
        }
    }))
}
