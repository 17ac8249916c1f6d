//! Identity, consent, opting out: stored in spool_dir across launches.

// The ids are written to the caller's memory.
#![allow(unsafe_code)]

use std::ffi::c_char;

use segment_native::{Choice, Client};

use crate::client::{required, segment_client};
use crate::error::{guard, guard_or, segment_status};
use crate::object::segment_object;
use crate::text;

/// The user has not answered yet.
pub const SEGMENT_CHOICE_NONE: i32 = 0;
/// The user has said yes.
pub const SEGMENT_CHOICE_IN: i32 = 1;
/// The user has said no.
pub const SEGMENT_CHOICE_OUT: i32 = 2;

/// With SEGMENT_STATEFUL, the anonymous id: made once, and again by segment_reset. Returns its
/// length without the NUL; 0: there is none, or an error.
///   buffer    For a copy with a NUL; "" if it does not fit. May be NULL with a capacity of 0.
///   capacity  How many bytes may be written there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segment_anonymous_id(
    client: Option<&segment_client>,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    // SAFETY: the header asks for NULL or `capacity` bytes that can be written.
    unsafe { copy_id(client, Client::anonymous_id, buffer, capacity) }
}

/// With SEGMENT_STATEFUL, the user id that segment_identify or segment_alias was given last. Buffer,
/// capacity and what is returned are those of segment_anonymous_id.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segment_user_id(
    client: Option<&segment_client>,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    // SAFETY: as above.
    unsafe { copy_id(client, Client::user_id, buffer, capacity) }
}

/// # Safety
/// `buffer` is NULL, or `capacity` bytes can be written there.
unsafe fn copy_id(
    client: Option<&segment_client>,
    id: impl FnOnce(&Client) -> Option<String>,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    guard_or(0, || {
        let found = required(client).map(|client| id(client).unwrap_or_default());
        let fits = found.as_ref().map_or("", |id| if id.len() < capacity { id.as_str() } else { "" });
        // SAFETY: the caller's promise.
        unsafe { text::copy_out(fits, buffer, capacity) }?;
        found.map(|id| id.len())
    })
}

/// Forgets the user and their traits, at a logout for example, and makes a new anonymous id. Needs
/// SEGMENT_STATEFUL.
#[unsafe(no_mangle)]
pub extern "C" fn segment_reset(client: Option<&segment_client>) -> segment_status {
    guard(|| required(client)?.reset())
}

/// From now on every message says what the user agreed to, in context.consent.categoryPreferences.
/// With SEGMENT_STATEFUL a new choice is tracked as "Segment Consent Preference Updated"; if that
/// message is refused, nothing changes. Another process with this spool_dir follows from its next
/// request on.
///   categories  A boolean for each category; NULL: messages no longer say anything about it.
#[unsafe(no_mangle)]
pub extern "C" fn segment_set_consent(
    client: Option<&segment_client>,
    categories: Option<&segment_object>,
) -> segment_status {
    guard(|| required(client)?.set_consent(categories.map(|categories| &categories.0)))
}

/// The user does not want to be tracked: calls return SEGMENT_OPTED_OUT, nothing more is sent, what
/// waits is thrown away (by other processes with this spool_dir before they send anything more),
/// and who the user was is forgotten. This lasts, also after a restart, until segment_opt_in. The
/// call waits up to a second for what was thrown away to be gone from the disk. SEGMENT_STORAGE:
/// the choice could not be stored, and holds in this process only.
#[unsafe(no_mangle)]
pub extern "C" fn segment_opt_out(client: Option<&segment_client>) -> segment_status {
    guard(|| required(client)?.opt_out())
}

/// The user agrees to be tracked, for the first time or again. What is held (SEGMENT_ASK_FIRST) is
/// released: with spool_dir it is there when the call returns, unless that takes more than a second
/// or the disk fails (segment_stats.in_memory counts the rest). What was thrown away stays so.
/// While the choice in spool_dir cannot be read, or is damaged, other calls return SEGMENT_STORAGE
/// (with SEGMENT_ASK_FIRST: SEGMENT_OPTED_OUT), and nothing is sent or thrown away; after damage
/// this lasts until segment_opt_in or segment_opt_out. A yes then erases what waited in spool_dir,
/// uncounted, and the ids: the answer that was lost may have been a no. SEGMENT_STORAGE from
/// segment_opt_in itself: the yes could not be stored, and holds in this process only.
#[unsafe(no_mangle)]
pub extern "C" fn segment_opt_in(client: Option<&segment_client>) -> segment_status {
    guard(|| required(client)?.opt_in())
}

/// What the user has answered, in this run or an earlier one with this spool_dir, with or without
/// SEGMENT_ASK_FIRST: SEGMENT_CHOICE_NONE, _IN or _OUT. _OUT is also returned for what counts as a
/// no: the answer in spool_dir cannot be read, or DO_NOT_TRACK is set (see SEGMENT_ASK_FIRST).
/// Without a client: SEGMENT_CHOICE_NONE, and segment_error() says so.
#[unsafe(no_mangle)]
pub extern "C" fn segment_opt_state(client: Option<&segment_client>) -> i32 {
    guard_or(SEGMENT_CHOICE_NONE, || {
        Ok(match required(client)?.opt_state() {
            Choice::In => SEGMENT_CHOICE_IN,
            Choice::Out => SEGMENT_CHOICE_OUT,
            _ => SEGMENT_CHOICE_NONE,
        })
    })
}
