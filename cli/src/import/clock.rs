//! The times in a history, in the forms that exports have.

use clap::ValueEnum;
use jiff::Timestamp;

/// How times are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// ISO 8601 with a zone
    Iso,
    /// ISO 8601, in UTC where there is no zone: `2026-01-02 03:04:05`, `2026-01-02`
    Utc,
    /// Seconds since 1970
    Unix,
    /// Milliseconds since 1970
    UnixMs,
}

impl Form {
    /// The time as Segment wants it. What cannot be read stays as it is: the check says what is wrong with it.
    pub(crate) fn iso(self, text: &str) -> String {
        let text = text.trim();
        let read = match self {
            Form::Iso => None,
            Form::Utc if text.parse::<Timestamp>().is_ok() => None,
            Form::Utc => {
                let midnight = if text.len() == "2026-01-02".len() { "T00:00:00" } else { "" };
                format!("{text}{midnight}Z").parse::<Timestamp>().ok()
            }
            Form::Unix => {
                text.parse::<f64>().ok().and_then(|s| Timestamp::from_millisecond((s * 1e3).round() as i64).ok())
            }
            Form::UnixMs => text.parse::<i64>().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        };
        read.map_or_else(|| text.to_owned(), |time| format!("{time:.3}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_get_the_form_that_segment_wants() {
        let ready = "2026-01-02T03:04:05.678Z";
        assert_eq!(Form::Iso.iso(ready), ready);
        assert_eq!(Form::Utc.iso("2026-01-02T03:04:05+01:00"), "2026-01-02T03:04:05+01:00");
        assert_eq!(Form::Utc.iso("2026-01-02 03:04:05.678"), ready);
        assert_eq!(Form::Utc.iso("2026-01-02"), "2026-01-02T00:00:00.000Z");
        assert_eq!(Form::Unix.iso("1767323045.678"), ready);
        assert_eq!(Form::UnixMs.iso("1767323045678"), ready);
    }

    #[test]
    fn what_is_no_time_stays() {
        for form in [Form::Iso, Form::Utc, Form::Unix, Form::UnixMs] {
            assert_eq!(form.iso("soon"), "soon");
        }
    }
}
