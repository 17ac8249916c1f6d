//! `--rate`: so many events a second and no more.

use std::time::{Duration, Instant};

/// Rows may come in bursts of so much time.
const BURST: Duration = Duration::from_millis(200);

/// Says when the next row may go.
pub(crate) struct Rate {
    interval: Option<Duration>,
    /// When the row is due that comes next.
    due: Instant,
}

impl Rate {
    /// So many a second; 0 is no limit.
    pub(crate) fn new(per_second: f64, now: Instant) -> Self {
        let interval = (per_second > 0.0).then(|| Duration::from_secs_f64(1.0 / per_second));
        Rate { interval, due: now }
    }

    /// How long to wait for the next row, which then counts as gone.
    pub(crate) fn next(&mut self, now: Instant) -> Duration {
        let Some(interval) = self.interval else { return Duration::ZERO };
        // What was not used is lost but for a burst.
        self.due = self.due.max(now.checked_sub(BURST).unwrap_or(now));
        let wait = self.due.saturating_duration_since(now);
        self.due += interval;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_however_long_it_takes() {
        let start = Instant::now();
        let mut now = start;
        let mut rate = Rate::new(100.0, now);
        for _ in 0..1_000 {
            now += rate.next(now);
        }
        let took = (now - start).as_secs_f64();
        assert!((9.5..10.5).contains(&took), "{took}");
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut rate = Rate::new(10.0, start);
        let late = start + Duration::from_secs(60);
        let free = (0..100).take_while(|_| rate.next(late).is_zero()).count();
        assert!(free <= 3, "{free}");
    }

    #[test]
    fn zero_is_no_limit() {
        let mut rate = Rate::new(0.0, Instant::now());
        assert!((0..1_000).all(|_| rate.next(Instant::now()).is_zero()));
    }
}
