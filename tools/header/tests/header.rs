//! The generated files are as src/ says.

use std::path::{Path, PathBuf};

use segment_header::model::{self, Model};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the root of the repository").to_owned()
}

fn is_fresh(name: &str, text: &str) -> bool {
    let path = root().join("include").join(name);
    let is_fresh = std::fs::read_to_string(&path).is_ok_and(|before| before == text);
    if !is_fresh {
        std::fs::write(&path, text).expect("include/ can be written");
    }
    is_fresh
}

fn read() -> Model {
    model::read(&root().join("src"))
}

#[test]
fn the_header_and_its_manifest_are_fresh() {
    let model = read();
    let template = include_str!("../segment.h.in");
    let files = [
        ("segment.h", segment_header::header(template, &model, VERSION)),
        ("segment.abi.json", segment_header::manifest(&model, VERSION)),
    ];
    let stale: Vec<_> = files.iter().filter(|(name, text)| !is_fresh(name, text)).map(|(name, _)| name).collect();
    assert!(stale.is_empty(), "rewritten in include/: {stale:?}; check the difference and commit it");
}

#[test]
#[should_panic(expected = "not in the template: [\"segment_free\"")]
fn what_the_template_does_not_name_is_found() {
    let template = include_str!("../segment.h.in").replace("@segment_free\n", "");
    segment_header::header(&template, &read(), VERSION);
}
