//! Writing JSON, straight into bytes.

use crate::base::time;

/// How deep arrays and objects may be nested, the message itself counted.
pub(crate) const MAX_DEPTH: usize = 64;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes `text` as a JSON string.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    out.reserve(rest.len() + 2);
    out.push(b'"');
    loop {
        let plain = plain_prefix(rest);
        out.extend_from_slice(&rest[..plain]);
        let Some(&special) = rest.get(plain) else { break };
        escape(out, special);
        rest = &rest[plain + 1..];
    }
    out.push(b'"');
}

/// Writes a signed integer, exactly.
pub(crate) fn int(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes an unsigned integer, exactly.
pub(crate) fn uint(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes the shortest number that reads back as the same double; false for NaN and the infinities, which JSON cannot
/// express.
#[must_use]
pub(crate) fn double(out: &mut Vec<u8>, number: f64) -> bool {
    if number.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
    }
    number.is_finite()
}

/// Writes a time as an ISO 8601 string.
pub(crate) fn time(out: &mut Vec<u8>, ms: i64) {
    out.push(b'"');
    out.extend_from_slice(&time::format(ms));
    out.push(b'"');
}

/// How many bytes at the front of `bytes` stand for themselves in a JSON string: up to the first quote, backslash or
/// control character.
pub(crate) fn plain_prefix(bytes: &[u8]) -> usize {
    let length = bytes.len();
    let mut at = 0;
    while let Some(eight) = bytes.get(at..at + 8) {
        if let Some(special) = first_special(word(eight)) {
            return at + special;
        }
        at += 8;
    }
    match length - at {
        0 => length,
        // The last eight once more: those before the rest are known to be plain.
        _ if at > 0 => first_special(word(&bytes[length - 8..])).map_or(length, |special| length - 8 + special),
        _ => bytes.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')).unwrap_or(length),
    }
}

fn word(eight: &[u8]) -> u64 {
    u64::from_le_bytes(eight.try_into().expect("eight bytes"))
}

/// The place of the first byte in a word that does not stand for itself. The subtraction finds bytes that are too
/// small, and the exclusive-or turns the byte that is sought into zero. A borrow reaches only higher bytes, so the
/// lowest match is right.
fn first_special(word: u64) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = is_zero(word ^ (ONES * b'"' as u64));
    let backslash = is_zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let found = (quote | backslash | control) & HIGH;
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

fn escape(out: &mut Vec<u8>, special: u8) {
    let short = match special {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let (high, low) = (HEX[usize::from(special >> 4)], HEX[usize::from(special & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn strings_read_back_as_they_were() {
        let mut texts: Vec<String> = (0u32..0x250).filter_map(char::from_u32).map(|c| format!("{c}")).collect();
        for at in 0..20 {
            for special in ["\"", "\\", "\n", "\u{0}", "\u{1f}", "é", "\u{7f}", "🎉", "\u{2028}"] {
                let mut text = "x".repeat(20);
                text.insert_str(at, special);
                texts.push(text);
            }
        }
        for text in texts {
            let json = written(|out| string(out, &text));
            assert!(!json.bytes().any(|b| b < 0x20), "{json:?}");
            assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
        }
    }

    #[test]
    fn integers_are_exact_to_64_bits() {
        assert_eq!(written(|out| int(out, i64::MIN)), "-9223372036854775808");
        assert_eq!(written(|out| int(out, 9_007_199_254_740_993)), "9007199254740993");
        assert_eq!(written(|out| uint(out, u64::MAX)), "18446744073709551615");
    }

    #[test]
    fn doubles_are_the_shortest_that_round_trip() {
        for (number, text) in [
            (19.99, "19.99"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (1e300, "1e+300"),
            (5e-324, "5e-324"),
        ] {
            let json = written(|out| assert!(double(out, number)));
            assert_eq!(json, text);
            assert_eq!(serde_json::from_str::<f64>(&json).expect("JSON").to_bits(), number.to_bits());
        }
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(written(|out| assert!(!double(out, number))), "");
        }
    }
}
