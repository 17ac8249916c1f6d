//! Structs that may grow: the caller says how large its own is.
//!
//! A caller with an older header has a smaller struct: what it lacks is zero, the default. A caller with a newer header
//! has a larger one: what we do not know must be zero, else it is refused, because to ignore a setting would be worse.
//! (The rule of Linux's openat2.)

// Reading and writing memory of a size that only C knows.
#![allow(unsafe_code)]

use std::mem::{MaybeUninit, align_of};

use segment_native::Error;

/// A struct that begins with its size, for which all bytes zero are a value.
///
/// # Safety
/// The type is `repr(C)`, begins with a `u32` that is its size, has no holes, and every field may
/// be zero.
pub(crate) unsafe trait Sized0: Copy {
    /// Its name in C.
    const NAME: &'static str;
}

/// No struct is larger; a larger size means that something else was passed.
const SIZE_MAX: usize = 4096;

fn check_size<T: Sized0>(size: usize) -> Result<(), Error> {
    // A size that cuts a pointer in two would make us read half of it.
    if (8..=SIZE_MAX).contains(&size) && size.is_multiple_of(align_of::<T>()) {
        return Ok(());
    }
    let name = T::NAME;
    Err(Error::invalid(format!("size must be sizeof({name})")))
}

/// Reads the caller's struct; none for NULL.
pub(crate) fn read<T: Sized0>(pointer: *const T) -> Result<Option<T>, Error> {
    if pointer.is_null() {
        return Ok(None);
    }
    let known = size_of::<T>();
    // SAFETY: the header asks for NULL or a struct of the type, and all of them begin with their size. Nothing is
    // assumed of its alignment.
    let size = unsafe { pointer.cast::<u32>().read_unaligned() } as usize;
    check_size::<T>(size)?;
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the caller says that `size` bytes are readable, and the copy is no larger than either struct.
    unsafe { std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), size.min(known)) };
    for at in known..size {
        // SAFETY: as above, `at` lies below the caller's size.
        if unsafe { pointer.cast::<u8>().add(at).read() } != 0 {
            return Err(Error::invalid(format!("{} has a field that this version does not know", T::NAME)));
        }
    }
    // SAFETY: all bytes are set, by zeroing or by the copy; what C can put into a field is a value of it.
    Ok(Some(unsafe { value.assume_init() }))
}

/// Writes a struct for the caller, as much of it as the caller's size says; what we do not know
/// becomes zero.
pub(crate) fn write<T: Sized0>(pointer: *mut T, value: &T) -> Result<(), Error> {
    // SAFETY: the caller checked for NULL; all these structs begin with their size.
    let size = unsafe { pointer.cast::<u32>().read_unaligned() } as usize;
    check_size::<T>(size)?;
    let known = size.min(size_of::<T>());
    // Its size stays as the caller set it.
    let skip = size_of::<u32>();
    // SAFETY: the caller says that its struct has `size` bytes; ours has `known`.
    unsafe {
        let from = std::ptr::from_ref(value).cast::<u8>();
        let to = pointer.cast::<u8>();
        std::ptr::copy_nonoverlapping(from.add(skip), to.add(skip), known - skip);
        to.add(known).write_bytes(0, size - known);
    }
    Ok(())
}
