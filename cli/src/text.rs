//! Text from events, made fit for a terminal: nothing in it can move the cursor, change colours or break the columns.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// JSON is not indented further than this many levels, or deep nesting would make megabytes of spaces.
const MAX_INDENT: usize = 32;

/// As much of a text as fits into some columns, and how many columns it takes.
pub(crate) struct Fitted {
    pub(crate) text: String,
    pub(crate) columns: usize,
}

/// Takes as much of `text` as fits into `columns`, with an ellipsis where something is left out.
pub(crate) fn fit(text: impl Iterator<Item = char>, columns: usize) -> Fitted {
    let mut fitted = Fitted { text: String::new(), columns: 0 };
    // Where an ellipsis would still fit.
    let mut cut = (0, 0);
    for c in text {
        let start = fitted.text.len();
        push(&mut fitted.text, c);
        // A character without a width counts as well, so that a heap of them comes to an end.
        fitted.columns += fitted.text[start..].chars().map(|c| c.width().unwrap_or_default().max(1)).sum::<usize>();
        if fitted.columns > columns {
            fitted.text.truncate(cut.0);
            fitted.columns = cut.1;
            if columns > 0 {
                fitted.text.push('…');
                fitted.columns += 1;
            }
            break;
        }
        if fitted.columns < columns {
            cut = (fitted.text.len(), fitted.columns);
        }
    }
    fitted
}

/// The whole text.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut out, c));
    out
}

/// Adds a character; one that controls the terminal as JSON would write it.
fn push(out: &mut String, c: char) {
    let controls = c.is_control()
        // These change the direction of what follows, or break lines.
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if controls {
        let _ = write!(out, "\\u{:04x}", u32::from(c)); // a string takes everything
    } else {
        out.push(c);
    }
}

/// The characters of a JSON text without the white space between its parts.
pub(crate) fn compact(json: &str) -> impl Iterator<Item = char> {
    let mut place = Place::default();
    json.chars().filter(move |&c| place.passes(c) || !c.is_ascii_whitespace())
}

/// Adds a JSON text in lines, each indented by `margin` spaces and ended. Everything but white space is as it was sent.
pub(crate) fn pretty(out: &mut String, json: &str, margin: usize) {
    let mut depth = 0_usize;
    let mut place = Place::default();
    let mut compact = compact(json).peekable();
    let line = |out: &mut String, depth: usize| {
        let _ = write!(out, "\n{:1$}", "", margin + 2 * depth.min(MAX_INDENT)); // a string takes everything
    };
    let _ = write!(out, "{:margin$}", "");
    while let Some(c) = compact.next() {
        if place.passes(c) {
            push(out, c);
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                match compact.next_if(|&next| matches!(next, '}' | ']')) {
                    Some(close) => out.push(close),
                    None => {
                        depth += 1;
                        line(out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(out, depth);
            }
            ':' => out.push_str(": "),
            other => push(out, other),
        }
    }
    out.push('\n');
}

/// Where in a JSON text we are.
#[derive(Default)]
struct Place {
    in_string: bool,
    after_backslash: bool,
}

impl Place {
    /// Passes a character; whether it belongs to a string, quotes included.
    fn passes(&mut self, c: char) -> bool {
        if !self.in_string {
            self.in_string = c == '"';
            return self.in_string;
        }
        if self.after_backslash {
            self.after_backslash = false;
        } else {
            self.after_backslash = c == '\\';
            self.in_string = c != '"';
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(text: &str, columns: usize) -> (String, usize) {
        let fitted = fit(text.chars(), columns);
        (fitted.text, fitted.columns)
    }

    #[test]
    fn what_fits_is_kept_and_the_rest_is_an_ellipsis() {
        assert_eq!(fitted("abc", 3), ("abc".into(), 3));
        assert_eq!(fitted("abcd", 3), ("ab…".into(), 3));
        assert_eq!(fitted("日本語", 6), ("日本語".into(), 6));
        assert_eq!(fitted("日本語", 5), ("日本…".into(), 5));
        assert_eq!(fitted("日本語", 4), ("日…".into(), 3));
        assert_eq!(fitted("abc", 1), ("…".into(), 1));
        assert_eq!(fitted("abc", 0), (String::new(), 0));
    }

    #[test]
    fn an_escape_is_cut_off_whole() {
        assert_eq!(fitted("ab\u{1b}[2J", 8), ("ab…".into(), 3));
        assert_eq!(fitted("ab\u{1b}[2J", 20), ("ab\\u001b[2J".into(), 11));
    }

    #[test]
    fn what_controls_a_terminal_is_escaped() {
        assert_eq!(escaped("a\n\u{7f}\u{9b}2J\u{202e}é"), "a\\u000a\\u007f\\u009b2J\\u202eé");
    }

    #[test]
    fn only_white_space_outside_of_strings_is_dropped() {
        let text: String = compact("{ \"a b\" :\n[ 1 , \"\\\" c\\\\\" , 2 ] }").collect();
        assert_eq!(text, r#"{"a b":[1,"\" c\\",2]}"#);
    }

    #[test]
    fn pretty_json_keeps_numbers_order_and_strings() {
        let mut out = String::new();
        pretty(&mut out, r#"{"b":18446744073709551616,"a":{"x, y":[1.0,"}"],"e":[ ],"o":{}}}"#, 1);
        let lines = [
            " {",
            "   \"b\": 18446744073709551616,",
            "   \"a\": {",
            "     \"x, y\": [",
            "       1.0,",
            "       \"}\"",
            "     ],",
            "     \"e\": [],",
            "     \"o\": {}",
            "   }",
            " }",
            "",
        ];
        assert_eq!(out, lines.join("\n"));
    }

    #[test]
    fn pretty_json_of_an_event_stays_small() {
        let mut out = String::new();
        pretty(&mut out, &format!("{}{}", "[".repeat(16_000), "]".repeat(16_000)), 0);
        assert!(out.len() < 4_000_000, "{}", out.len());
    }
}
