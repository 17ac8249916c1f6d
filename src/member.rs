//! Many members in one call, for bindings and generated code.

// Members are the caller's memory, and the caller says which field of a value counts.
#![allow(unsafe_code)]

use std::ffi::c_char;

use segment_native::{Error, Object, Value, bindings};

use crate::error::null;
use crate::object::{change, segment_object};
use crate::text;

/// segment_member.kind: a text, in `str`.
pub const SEGMENT_KIND_STR: usize = 1;
/// segment_member.kind: an integer; it stays exact to 64 bits.
pub const SEGMENT_KIND_INT: usize = 2;
/// segment_member.kind: a finite number.
pub const SEGMENT_KIND_DOUBLE: usize = 3;
/// segment_member.kind: true or false, in `boolean`.
pub const SEGMENT_KIND_BOOL: usize = 4;
/// segment_member.kind: a time, in `unix_ms`.
pub const SEGMENT_KIND_TIME: usize = 5;
/// segment_member.kind: null; the value is ignored.
pub const SEGMENT_KIND_NULL: usize = 6;
/// segment_member.kind: a copy of an object, which may be the one that is changed.
pub const SEGMENT_KIND_OBJECT: usize = 7;
/// segment_member.kind: any JSON value, in `str`.
pub const SEGMENT_KIND_JSON: usize = 8;

/// The value of a member: what its kind says.
#[repr(C)]
#[derive(Clone, Copy)]
pub union segment_value {
    /// A text, or JSON.
    pub str: *const c_char,
    /// An integer.
    pub integer: i64,
    /// A number.
    pub number: f64,
    /// Milliseconds since 1970.
    pub unix_ms: i64,
    /// 0: false.
    pub boolean: u8,
    /// An object.
    pub object: *const segment_object,
}

/// One member of an object, for segment_object_set_members.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct segment_member {
    /// Its value.
    pub value: segment_value,
    /// Its name.
    pub key: *const c_char,
    /// How many bytes the key has; 0: it ends with a NUL.
    pub key_length: usize,
    /// How many bytes value.str has; 0: it ends with a NUL.
    pub length: usize,
    /// What the value is. An unknown kind marks the object.
    pub kind: usize,
}

/// Sets many members in one call, as the functions above do one by one: the later of two with the
/// same key counts, and one that fails marks the object while the others are set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn segment_object_set_members(
    object: Option<&mut segment_object>,
    members: *const segment_member,
    count: usize,
) {
    let itself: *const segment_object = object.as_deref().map_or(std::ptr::null(), std::ptr::from_ref);
    change(object, |object| {
        if count > isize::MAX as usize / size_of::<segment_member>() {
            return Err(Error::invalid("count is too large"));
        }
        if members.is_null() && count > 0 {
            return Err(null("members"));
        }
        for at in 0..count {
            // SAFETY: the header asks for `count` members that stay as they are until the call returns. Nothing is
            // assumed of their alignment.
            let member = unsafe { members.add(at).read_unaligned() };
            // SAFETY: as above, for what the member points to.
            if let Err(error) = unsafe { set(object, &member, itself) } {
                bindings::mark(object, error);
            }
        }
        Ok(())
    });
}

/// # Safety
/// The pointers of the member are what its kind and lengths say, for as long as this runs. `itself` is where `object`
/// is.
unsafe fn set(object: &mut Object, member: &segment_member, itself: *const segment_object) -> Result<(), Error> {
    // SAFETY: the caller's promise.
    let key = unsafe { text::counted(member.key, member.key_length, "key") }?;
    // SAFETY: the caller's promise; any bytes are a number.
    let value = unsafe {
        match member.kind {
            SEGMENT_KIND_STR => Value::Str(text::counted(member.value.str, member.length, key)?),
            SEGMENT_KIND_INT => Value::Int(member.value.integer),
            SEGMENT_KIND_DOUBLE => Value::Double(member.value.number),
            SEGMENT_KIND_BOOL => Value::Bool(member.value.boolean != 0),
            SEGMENT_KIND_TIME => Value::TimeMs(member.value.unix_ms),
            SEGMENT_KIND_NULL => Value::Null,
            SEGMENT_KIND_OBJECT if member.value.object.is_null() => return Err(null(key)),
            SEGMENT_KIND_OBJECT if std::ptr::eq(member.value.object, itself) => {
                let copy = object.clone();
                object.set(key, &copy);
                return Ok(());
            }
            SEGMENT_KIND_OBJECT => Value::Object(&(*member.value.object).0),
            SEGMENT_KIND_JSON => Value::Json(text::counted(member.value.str, member.length, key)?),
            unknown => return Err(Error::invalid(format!("the kind of \"{key}\" is unknown: {unknown}"))),
        }
    };
    object.set(key, value);
    Ok(())
}
