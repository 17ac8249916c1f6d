//! What cargo cannot know about a C library: the name it is loaded by, and that it must stay loaded. What rustc cannot
//! know: what the library is built for.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let major = env::var("CARGO_PKG_VERSION_MAJOR").unwrap_or_default();
    let minor = env::var("CARGO_PKG_VERSION_MINOR").unwrap_or_default();
    // Before 1.0 a minor version may break what was, so it is part of the name.
    let version = if major == "0" { format!("0.{minor}") } else { major };
    println!("cargo:rustc-env=SEGMENT_ABI={version}");
    println!("cargo:rustc-env=SEGMENT_TARGET={}", env::var("TARGET").unwrap_or_default());
    let link = |argument: &str| println!("cargo:rustc-cdylib-link-arg={argument}");
    match os.as_str() {
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd" => {
            link(&format!("-Wl,-soname,libsegment.so.{version}"));
            // The delivery thread and thread-local buffers may outlive a dlclose; their code must stay where it is.
            link("-Wl,-z,nodelete");
        }
        "macos" | "ios" => link(&format!("-Wl,-install_name,@rpath/libsegment.{version}.dylib")),
        _ => {}
    }
}
