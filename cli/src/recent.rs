//! The message ids that came lately.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

/// How many ids are remembered.
const MAX_IDS: usize = 100_000;

/// Remembers the newest message ids, by their hashes: an id may be as long as an event. That two of so few ids share a
/// hash of 64 bits does not happen.
#[derive(Default)]
pub(crate) struct Recent {
    hasher: RandomState,
    known: HashSet<u64>,
    oldest_first: VecDeque<u64>,
}

impl Recent {
    /// Whether the id is new; it is remembered then.
    pub(crate) fn is_new(&mut self, id: &str) -> bool {
        let hash = self.hasher.hash_one(id);
        if !self.known.insert(hash) {
            return false;
        }
        self.oldest_first.push_back(hash);
        if self.oldest_first.len() > MAX_IDS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_once() {
        let mut recent = Recent::default();
        assert!(recent.is_new("a"));
        assert!(recent.is_new("b"));
        assert!(!recent.is_new("a"));
    }

    #[test]
    fn the_oldest_ids_are_forgotten() {
        let mut recent = Recent::default();
        assert!((0..=MAX_IDS).all(|id| recent.is_new(&id.to_string())));
        assert_eq!(recent.known.len(), MAX_IDS);
        assert_eq!(recent.oldest_first.len(), MAX_IDS);
        assert!(!recent.is_new("1"));
        assert!(recent.is_new("0"));
    }
}
