//! Numbers as people read them.

/// A number of things: `1 message`, `2 messages`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A number of bytes: `410 B`, `45.2 kB`.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let mut thousands = bytes as f64 / 1e3;
    let mut units = ["kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        // What would be rounded to 1000.0.
        if thousands < 999.95 {
            break;
        }
        (thousands, unit) = (thousands / 1e3, larger);
    }
    format!("{thousands:.1} {unit}")
}

/// How long something took or is ago: `12 s`, `3 d`. What lies in the future, by a clock that was wrong, is now.
pub(crate) fn age(ms: i64) -> String {
    match ms.max(0) / 1_000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_digit_behind_the_point() {
        let sizes = [0, 999, 1_000, 45_249, 999_949, 999_950, 1_500_000_000, u64::MAX];
        let expected = ["0 B", "999 B", "1.0 kB", "45.2 kB", "999.9 kB", "1.0 MB", "1.5 GB", "18446.7 PB"];
        assert_eq!(sizes.map(size), expected);
    }

    #[test]
    fn ages_are_in_the_largest_unit_that_says_enough() {
        let ages = [i64::MIN, 59_999, 60_000, 3_599_999, 3_600_000, 172_799_999, 172_800_000];
        assert_eq!(ages.map(age), ["0 s", "59 s", "1 min", "59 min", "1 h", "47 h", "2 d"]);
    }

    #[test]
    fn one_thing_is_one_thing() {
        assert_eq!([0, 1, 2].map(|number| count(number, "line")), ["0 lines", "1 line", "2 lines"]);
    }
}
