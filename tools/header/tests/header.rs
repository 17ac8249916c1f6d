//! include/segment.h is written from src/, and never by hand.

use std::path::Path;

#[test]
fn the_header_is_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the root of the repository");
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml can be read");
    let version = env!("CARGO_PKG_VERSION");
    config.after_includes = config.after_includes.map(|text| text.replace("@VERSION@", version));
    let bindings = cbindgen::Builder::new().with_crate(root).with_config(config).generate().expect("src/ can be read");
    let mut header = Vec::new();
    bindings.write(&mut header);
    let path = root.join("include/segment.h");
    if std::fs::read(&path).is_ok_and(|before| before == header) {
        return;
    }
    std::fs::write(&path, header).expect("include/segment.h can be written");
    panic!("include/segment.h was stale; it has been written anew: look at the difference and commit it");
}
