//! What was found out, and what to do about it.

use serde::Serialize;

use crate::text::escaped;

/// What was found out about one thing.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    check: &'static str,
    pub(crate) verdict: Verdict,
    sentence: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Good,
    /// It works, but somebody should know.
    Doubtful,
    Bad,
}

impl Finding {
    pub(crate) fn good(check: &'static str, sentence: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Good, sentence: sentence.into(), advice: None }
    }

    pub(crate) fn doubtful(check: &'static str, sentence: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(advice.into());
        Finding { check, verdict: Verdict::Doubtful, sentence: sentence.into(), advice }
    }

    pub(crate) fn bad(check: &'static str, sentence: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { verdict: Verdict::Bad, ..Finding::doubtful(check, sentence, advice) }
    }

    /// As a person reads it.
    pub(crate) fn lines(&self) -> String {
        let mark = match self.verdict {
            Verdict::Good => "ok",
            Verdict::Doubtful => "warn",
            Verdict::Bad => "BAD",
        };
        let mut lines = format!("{mark:<5}{:<12}{}\n", self.check, escaped(&self.sentence));
        if let Some(advice) = &self.advice {
            lines += &format!("{:17}-> {}\n", "", escaped(advice));
        }
        lines
    }
}
