//! The shape of the write key. The key itself is never shown.

use crate::doctor::finding::Finding;

const CHECK: &str = "write key";
const WHERE: &str = "copy it from Segment: Connections, your source, Settings, API Keys";

/// The usual length of a key.
const LENGTH: usize = 32;

pub(crate) fn look(key: Option<&str>) -> Finding {
    let Some(key) = key else {
        return Finding::bad(CHECK, "there is none", format!("set SEGMENT_WRITE_KEY, or give --write-key; {WHERE}"));
    };
    if key.is_empty() {
        return Finding::bad(CHECK, "it is empty", WHERE);
    }
    if key.trim() != key {
        return Finding::bad(
            CHECK,
            "there is white space around it",
            "remove it; a line end in a file or secret is the usual cause",
        );
    }
    if key.starts_with(['"', '\'']) || key.ends_with(['"', '\'']) {
        return Finding::bad(
            CHECK,
            "there are quotation marks around it",
            "remove them; env files keep them as a part of the value",
        );
    }
    if key.starts_with("sgp_") || key.contains('.') {
        return Finding::bad(
            CHECK,
            "it looks like a token of the Public API",
            format!("that is another thing; {WHERE}"),
        );
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
        return Finding::bad(CHECK, "it has characters that no write key has", WHERE);
    }
    if key.len() != LENGTH || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let sentence = format!("it has {} characters; most have {LENGTH}, letters and digits only", key.len());
        return Finding::doubtful(
            CHECK,
            sentence,
            format!("if no events arrive, {WHERE}. Segment answers 200 to a wrong key, too"),
        );
    }
    Finding::good(CHECK, "it has the usual shape")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn the_usual_mistakes_are_known() {
        for (key, verdict) in [
            (None, Verdict::Bad),
            (Some(""), Verdict::Bad),
            (Some("abcdefghijklmnopqrstuvwxyz012345\n"), Verdict::Bad),
            (Some("'abcdefghijklmnopqrstuvwxyz012345'"), Verdict::Bad),
            (Some("sgp_abcdefghijklmnopqrstuvwxyz012345"), Verdict::Bad),
            (Some("a b"), Verdict::Bad),
            (Some("abc"), Verdict::Doubtful),
            (Some("abcdefghijklmnopqrstuvwxyz012345"), Verdict::Good),
        ] {
            let finding = look(key);
            assert_eq!(finding.verdict, verdict, "{key:?}");
            assert!(key.is_none_or(|key| key.is_empty() || !finding.lines().contains(key)), "{key:?} is shown");
        }
    }
}
