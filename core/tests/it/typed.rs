//! The names that Segment has given a meaning are the same in every language. Each language has code for them in its
//! own style; the tables of doubts are the list that all are compared with.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The code of a file of the repository, without comments and documentation.
fn code(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").join(path);
    let text = fs::read_to_string(path).expect("readable");
    let code: String = text.split("\"\"\"").step_by(2).collect(); // Python's docstrings
    code.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect()
}

/// The quoted names between each of these beginnings and the next `end`.
fn names(code: &str, beginnings: &[&str], end: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for beginning in beginnings {
        let block = code.split_once(beginning).unwrap_or_else(|| panic!("there is no {beginning}")).1;
        let block = block.split_once(end).map_or(block, |(block, _)| block);
        for (at, _) in block.match_indices('"') {
            let rest = &block[at + 1..];
            let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(0);
            if length > 0 && rest[length..].starts_with('"') {
                names.insert(rest[..length].to_owned());
            }
        }
    }
    names
}

#[test]
fn every_language_has_the_names_that_segment_reserves() {
    let tables = code("core/src/message/doubts.rs");
    let rust = code("core/src/message/typed.rs");
    let cpp = code("include/segment.hpp");
    let python = code("bindings/python/python/segment_native/typed.py");
    // What both kinds of traits share is written once, in the macro and in the template.
    let (common_rust, common_cpp) = ("macro_rules! traits", "class NamedTraits");
    for (table, class, in_rust, in_cpp) in [
        (
            "USER",
            "Traits",
            &[common_rust, "\n    Traits {", "impl Traits {"][..],
            &[common_cpp, "class Traits ", "Traits& Traits::birthday"][..],
        ),
        ("ACCOUNT", "GroupTraits", &[common_rust, "\n    GroupTraits {"], &[common_cpp, "class GroupTraits "]),
        ("ADDRESS", "Address", &["impl From<Address<'_>> for Object"], &["struct Address {"]),
        ("COMPANY", "Company", &["impl From<Company<'_>> for Object"], &["struct Company {"]),
        ("PRODUCT", "Product", &["impl From<Product<'_>> for Object"], &["struct Product {"]),
    ] {
        let expected = names(&tables, &[&format!("static {table}: Table")], ";");
        assert!(expected.len() >= 5, "{table}: {expected:?}");
        assert_eq!(names(&rust, in_rust, "\n}\n"), expected, "Rust, {class}");
        assert_eq!(names(&cpp, in_cpp, "\n}"), expected, "C++, {class}");
        assert_eq!(names(&python, &[&format!("class {class}(dict)")], "\nclass "), expected, "Python, {class}");
    }
    let events = names(&tables, &["static ANY_EVENT: Table"], ";");
    for (code, revenue, end) in [
        (&rust, "fn set_revenue", "\n    }\n"),
        (&cpp, "inline Object& Object::set(const Revenue& revenue)", "\n}\n"),
        (&python, "def __init__(self, amount, currency=\"USD\"):", "\nclass "),
    ] {
        let found = names(code, &[revenue], end);
        assert!(found.len() == 2 && found.is_subset(&events), "{revenue}: {found:?}");
    }
}
