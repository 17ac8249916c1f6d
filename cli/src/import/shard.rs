//! `--shard i/n`: the part of the rows that one of many machines takes.

use std::fmt;
use std::str::FromStr;

/// Every n-th row, beginning with the i-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    index: u64,
    count: u64,
}

impl Shard {
    /// All rows.
    pub(crate) const WHOLE: Shard = Shard { index: 1, count: 1 };

    /// Whether a row, counted from 1, is one of ours.
    pub(crate) fn has(self, row: u64) -> bool {
        row % self.count == self.index % self.count
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        let numbers = numbers.filter(|(index, count)| (1..=*count).contains(index));
        numbers.map(|(index, count)| Shard { index, count }).ok_or_else(|| "must be like 1/8, 2/8, ... 8/8".to_owned())
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_in_one_shard() {
        let shards: Vec<Shard> = (1..=3).map(|i| format!("{i}/3").parse().expect("a shard")).collect();
        for row in 1..100 {
            assert_eq!(shards.iter().filter(|shard| shard.has(row)).count(), 1, "{row}");
        }
        assert!(shards[0].has(1) && shards[2].has(3));
        assert!((1..10).all(|row| Shard::WHOLE.has(row)));
    }

    #[test]
    fn shards_count_from_one() {
        for text in ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", ""] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
