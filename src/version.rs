//! What the library says about itself.

// The functions are exported by their names.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};

/// A literal that ends with a NUL.
const fn c_str(text: &str) -> &CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("one NUL, at the end"),
    }
}

/// The version of the library, like "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn segment_version() -> *const c_char {
    const VERSION: &CStr = c_str(concat!(env!("CARGO_PKG_VERSION"), "\0"));
    VERSION.as_ptr()
}

/// The same as a number, to compare with SEGMENT_VERSION_NUMBER.
#[unsafe(no_mangle)]
pub extern "C" fn segment_version_number() -> u32 {
    const fn number(text: &str) -> u32 {
        match u32::from_str_radix(text, 10) {
            Ok(number) => number,
            Err(_) => panic!("a part of a version is a number"),
        }
    }
    const NUMBER: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
        + number(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
        + number(env!("CARGO_PKG_VERSION_PATCH"));
    NUMBER
}

/// What this library was built as, in JSON, for bug reports and for bindings that check themselves:
/// its version; "abi", the number in the name that programs load it by; "target"; and its features:
/// "http" (its own HTTP; without it the host brings a transport) and "oauth".
#[unsafe(no_mangle)]
pub extern "C" fn segment_build_info() -> *const c_char {
    macro_rules! info {
        ($features:literal) => {
            c_str(concat!(
                r#"{"version":""#,
                env!("CARGO_PKG_VERSION"),
                r#"","abi":""#,
                env!("SEGMENT_ABI"),
                r#"","target":""#,
                env!("SEGMENT_TARGET"),
                r#"","features":"#,
                $features,
                "}\0"
            ))
        };
    }
    const INFO: &CStr = match (cfg!(feature = "http"), cfg!(feature = "oauth")) {
        (true, true) => info!(r#"["http","oauth"]"#),
        (true, false) => info!(r#"["http"]"#),
        (false, true) => info!(r#"["oauth"]"#),
        (false, false) => info!("[]"),
    };
    INFO.as_ptr()
}
