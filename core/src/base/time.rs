//! Time as Segment wants it: ISO 8601 in UTC with milliseconds. Inside, a time is milliseconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use crate::base::threads;

/// The first millisecond of the year 1 and the last of the year 9999.
const RANGE: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

const DAY_MS: i64 = 86_400_000;

/// Now, by the system's clock.
pub(crate) fn now_ms() -> i64 {
    from_system(threads::system_time())
}

/// A `SystemTime` in milliseconds since 1970.
pub(crate) fn from_system(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// Whether a time can be written with a year of four digits.
pub(crate) fn is_writable(ms: i64) -> bool {
    RANGE.contains(&ms)
}

/// Writes `2026-01-02T03:04:05.678Z`. A time outside the years 1 to 9999 is moved to the nearest end.
pub(crate) fn format(ms: i64) -> [u8; 24] {
    let ms = ms.clamp(*RANGE.start(), *RANGE.end());
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let of_day = ms.rem_euclid(DAY_MS) as u32;
    let mut text = *b"0000-00-00T00:00:00.000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], of_day / 3_600_000);
    digits(&mut text[14..16], of_day / 60_000 % 60);
    digits(&mut text[17..19], of_day / 1_000 % 60);
    digits(&mut text[20..23], of_day % 1_000);
    text
}

/// Reads RFC 3339, and the parts of ISO 8601 that mean the same: any offset, any fraction, a space for the `T`. A time
/// without a zone is refused, since it could mean any of many moments.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let time: Timestamp = text.parse().ok()?;
    Some(time.as_millisecond()).filter(|ms| is_writable(*ms))
}

/// Reads the date of an HTTP header, `Wed, 21 Oct 2015 07:28:00 GMT`.
pub(crate) fn parse_http_date(text: &str) -> Option<i64> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

fn digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar. The year is taken to begin in
/// March, so that the leap day is its last one.
fn civil(days: i64) -> (u32, u32, u32) {
    let days = days + 719_468; // since 0000-03-01
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year as u32, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ms: i64) -> String {
        String::from_utf8_lossy(&format(ms)).into_owned()
    }

    #[test]
    fn writes_utc_with_milliseconds() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_767_323_045_678), "2026-01-02T03:04:05.678Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn stays_within_four_digits_of_year() {
        assert_eq!(text(i64::MIN), "0001-01-01T00:00:00.000Z");
        assert_eq!(text(i64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn agrees_with_jiff_over_ten_thousand_years() {
        let mut ms = *RANGE.start();
        while ms < *RANGE.end() {
            let theirs = Timestamp::from_millisecond(ms).expect("in range");
            assert_eq!(parse(&text(ms)), Some(ms));
            assert_eq!(text(ms), format!("{theirs:.3}"));
            ms += 20_000_003_217; // some 231 days, and never the same time of day
        }
    }

    #[test]
    fn reads_what_people_write() {
        let expected = Some(1_767_323_045_678);
        for same in [
            "2026-01-02T03:04:05.678Z",
            "2026-01-02 03:04:05.678Z",
            "2026-01-02t03:04:05.678z",
            "2026-01-02T05:04:05.678+02:00",
            "2026-01-01T22:34:05.678-04:30",
            "2026-01-02T03:04:05.678000+00:00",
            "2026-01-02T03:04:05.678999999Z",
        ] {
            assert_eq!(parse(same), expected, "{same}");
        }
        assert_eq!(parse("2026-01-02T03:04:05Z"), Some(1_767_323_045_000));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "now",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2015-2-02T00:30:08.276Z", // from Segment's own documentation
            "2026-02-30T00:00:00Z",
            "2026-01-02T25:00:00Z",
            "1767323045678",
            "2026-01-02T03:04:05Z and more",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn reads_http_dates() {
        assert_eq!(parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT"), Some(1_445_412_480_000));
        assert_eq!(parse_http_date("Wed, 21 Oct 2015 07:28:00 -0000"), Some(1_445_412_480_000));
        assert_eq!(parse_http_date("soon"), None);
    }
}
