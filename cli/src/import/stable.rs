//! Message ids that are the same at every run, so that Segment knows repeats.

use uuid::Uuid;

use crate::input::Row;

/// The ids of the rows of one content under one write key.
#[derive(Clone, Copy)]
pub(crate) struct Ids {
    key: Uuid,
    content: Uuid,
}

impl Ids {
    /// `beginning`: the first row of the content. It tells one export from another, wherever it lies and however it is
    /// packed, and stays when the export grows.
    pub(crate) fn new(write_key: &str, beginning: &[u8]) -> Self {
        let key = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("segment import {write_key}").as_bytes());
        Ids { key, content: Uuid::new_v5(&key, beginning) }
    }

    /// Of a row. Its text has a part in it, so that two contents that begin alike never share an id for different rows.
    pub(crate) fn of_row(&self, number: u64, text: &str) -> String {
        let mut name = number.to_be_bytes().to_vec();
        name.extend_from_slice(text.as_bytes());
        Uuid::new_v5(&self.content, &name).to_string()
    }

    /// Of a value that is unique among all rows of this source.
    pub(crate) fn of_value(&self, value: &str) -> String {
        Uuid::new_v5(&self.key, value.as_bytes()).to_string()
    }

    /// A name for one content on its way to one place.
    pub(crate) fn of_job(&self, endpoint: &str, shard: &str) -> String {
        Uuid::new_v5(&self.content, format!("{endpoint} {shard}").as_bytes()).simple().to_string()
    }
}

/// What tells whether a row is the same at a later run.
pub(crate) fn mark(row: &Row) -> String {
    let text = row.text.as_ref().unwrap_or_else(|reason| reason);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.trim().as_bytes()).simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_row_has_the_same_id_and_no_other_has_it() {
        let ids = Ids::new("wk", b"begin");
        let id = ids.of_row(1, "text");
        assert_eq!(Ids::new("wk", b"begin").of_row(1, "text"), id);
        assert_ne!(ids.of_row(2, "text"), id);
        assert_ne!(ids.of_row(1, "texts"), id);
        assert_ne!(Ids::new("wk2", b"begin").of_row(1, "text"), id);
        assert_ne!(Ids::new("wk", b"other").of_row(1, "text"), id);
    }

    #[test]
    fn the_id_of_a_value_does_not_depend_on_the_content() {
        assert_eq!(Ids::new("wk", b"a").of_value("7"), Ids::new("wk", b"b").of_value("7"));
        assert_ne!(Ids::new("wk", b"a").of_value("7"), Ids::new("wl", b"a").of_value("7"));
    }

    #[test]
    fn ids_stay_the_same_from_version_to_version() {
        assert_eq!(Ids::new("wk", b"begin").of_row(1, "text"), "134dcc6d-320a-5bf2-8e72-bd34a7080969");
        assert_eq!(Ids::new("wk", b"begin").of_value("7"), "7dc9d8e4-129d-57a3-9119-ddf07082484c");
    }
}
