//! The policy, tested by the lists that Segment's SDKs publish: T01 to T22 of node's publisher, and the names of
//! python's, java's and swift's. Where they disagree, the newest one counts.

use super::*;

const LIMITS: Limits = Limits { retry_max: 10, spooled: false, oauth: false };
const SECOND: Duration = Duration::from_secs(1);

/// One chunk of messages and a server that answers from a list; time passes only as the policy waits.
struct Run {
    pace: Pace,
    parts: Parts,
    limits: Limits,
    now: Duration,
    /// What each request carried: its `X-Retry-Count`, and when it was made.
    requests: Vec<(Option<u32>, Duration)>,
    delivered: usize,
    failed: usize,
}

impl Run {
    fn new(messages: usize, limits: Limits) -> Self {
        let (pace, parts) = (Pace::new(1), Parts::new(messages));
        Run { pace, parts, limits, now: Duration::ZERO, requests: Vec::new(), delivered: 0, failed: 0 }
    }

    /// Sends until everything is settled; `server` sees which messages a request carries.
    fn finish(mut self, mut server: impl FnMut(usize, &Range<usize>) -> Outcome) -> Self {
        while let Some(part) = self.parts.current() {
            self.now = self.pace.wait(self.now).unwrap_or(self.now);
            let (outcome, epoch) = (server(self.requests.len(), &part.messages), self.pace.epoch());
            self.requests.push((part.retry_count(), self.now));
            match self.pace.settle(&mut self.parts, outcome, epoch, self.limits, self.now, 0.0) {
                Settled::Nothing => {}
                Settled::Delivered(parts) => self.delivered += parts.iter().map(|p| p.messages.len()).sum::<usize>(),
                Settled::Failed(parts) => self.failed += parts.iter().map(|p| p.messages.len()).sum::<usize>(),
            }
            assert!(self.requests.len() < 10_000, "no end");
        }
        self
    }

    fn counts(&self) -> Vec<Option<u32>> {
        self.requests.iter().map(|(count, _)| *count).collect()
    }

    fn waits(&self) -> Vec<Duration> {
        self.requests.windows(2).map(|two| two[1].1 - two[0].1).collect()
    }
}

/// Settles a request for a message of its own, which begins now.
fn settle(pace: &mut Pace, outcome: Outcome, limits: Limits, now: Duration) -> Settled {
    pace.settle(&mut Parts::new(1), outcome, pace.epoch(), limits, now, 0.0)
}

fn answer(status: u16) -> Outcome {
    Outcome::Answer { status, retry_after: None, html: false }
}

fn answer_after(status: u16, seconds: u64) -> Outcome {
    Outcome::Answer { status, retry_after: Some(Duration::from_secs(seconds)), html: false }
}

/// Sends one message; the server gives these answers in turn, then 200.
fn run(limits: Limits, answers: &[Outcome]) -> Run {
    Run::new(1, limits).finish(|n, _| answers.get(n).copied().unwrap_or(answer(200)))
}

#[test]
fn without_a_token_no_request_is_counted_as_made() {
    let judged = |verdict, spooled| judge(Outcome::NoToken(verdict), Limits { spooled, ..LIMITS });
    for spooled in [false, true] {
        assert_eq!(judged(TokenVerdict::Wait(SECOND), spooled), Verdict::Pause(SECOND));
        assert_eq!(judged(TokenVerdict::Retry, spooled), Verdict::Retry);
    }
    assert_eq!(judged(TokenVerdict::Unrecoverable, false), Verdict::Refused);
    assert_eq!(judged(TokenVerdict::Unrecoverable, true), Verdict::Retry, "the settings may be corrected");
    let run = run(LIMITS, &[Outcome::NoToken(TokenVerdict::Retry), answer(500)]);
    assert_eq!(run.counts(), [None, None, Some(1)], "only requests that were made count");
}

#[test]
fn t01_a_first_attempt_has_no_retry_count() {
    let run = run(LIMITS, &[]);
    assert_eq!(run.counts(), [None]);
    assert_eq!((run.delivered, run.failed), (1, 0));
}

#[test]
fn t02_the_retry_count_counts_the_attempts_before() {
    assert_eq!(run(LIMITS, &[answer(500), answer(500)]).counts(), [None, Some(1), Some(2)]);
}

#[test]
fn t03_t04_t05_t14_t19_what_is_not_retryable_is_given_up_at_once() {
    for status in [401, 403, 404, 405, 409, 418, 422, 451, 499, 501, 505, 511] {
        let run = run(LIMITS, &[answer(status)]);
        assert_eq!((run.requests.len(), run.failed), (1, 1), "{status}");
    }
}

#[test]
fn t05b_511_is_retried_with_oauth() {
    let run = run(Limits { oauth: true, ..LIMITS }, &[answer(511)]);
    assert_eq!((run.counts(), run.delivered), (vec![None, Some(1)], 1));
}

#[test]
fn t06_429_with_retry_after_waits_as_told() {
    let run = run(LIMITS, &[answer_after(429, 7)]);
    assert_eq!(run.waits(), [7 * SECOND]);
    assert_eq!(run.delivered, 1);
}

#[test]
fn t07_t08_retry_after_counts_on_every_retryable_status() {
    for status in [408, 410, 429, 460, 500, 502, 503, 504, 508, 529, 599] {
        assert_eq!(run(LIMITS, &[answer_after(status, 9)]).waits(), [9 * SECOND], "{status}");
    }
}

#[test]
fn retry_after_on_what_is_not_retryable_is_ignored() {
    let run = run(LIMITS, &[answer_after(400, 9)]);
    assert_eq!((run.requests.len(), run.failed), (1, 1));
    assert_eq!(run.pace.wait(run.now), None);
}

#[test]
fn t09_t10_t11_t13_retryable_statuses_back_off() {
    for status in [408, 410, 429, 460, 500, 502, 503, 504, 508, 529, 599] {
        let run = run(LIMITS, &[answer(status)]);
        assert_eq!((run.waits(), run.delivered), (vec![BACKOFF_BASE], 1), "{status}");
    }
}

#[test]
fn t12_one_message_that_is_too_large_is_given_up() {
    for status in [400, 413] {
        let run = run(LIMITS, &[answer(status)]);
        assert_eq!((run.requests.len(), run.failed), (1, 1));
    }
}

#[test]
fn t15_a_network_error_is_retried_with_backoff() {
    let run = run(LIMITS, &[Outcome::Unreached, Outcome::Unreached]);
    assert_eq!(run.waits(), [BACKOFF_BASE, 2 * BACKOFF_BASE]);
    assert_eq!(run.delivered, 1);
}

#[test]
fn t16_retries_end_after_their_number() {
    for retry_max in [1, 3, 10] {
        let run = run(Limits { retry_max, ..LIMITS }, &[answer(500); 100]);
        assert_eq!((run.requests.len() as u32, run.failed), (retry_max + 1, 1));
    }
}

#[test]
fn t17_a_demanded_pause_does_not_count() {
    let run = run(Limits { retry_max: 1, ..LIMITS }, &[answer_after(429, 1), answer_after(429, 1), answer(500)]);
    assert_eq!((run.requests.len(), run.delivered), (4, 1));
}

#[test]
fn t18_the_retry_count_goes_on_through_all_kinds_of_retries() {
    let run = run(LIMITS, &[answer(500), answer_after(429, 2), Outcome::Unreached, answer(408)]);
    assert_eq!(run.counts(), [None, Some(1), Some(2), Some(3), Some(4)]);
}

#[test]
fn t19b_messages_in_memory_are_given_up_after_twelve_hours() {
    let run = run(Limits { retry_max: u32::MAX - 1, ..LIMITS }, &[answer(500); 2_000]);
    assert_eq!(run.failed, 1);
    assert!(run.now <= GIVE_UP_AFTER && run.now > GIVE_UP_AFTER - 2 * BACKOFF_MAX, "{:?}", run.now);
}

#[test]
fn t20b_t21_pauses_without_end_are_given_up_too() {
    let run = run(LIMITS, &[answer_after(429, 300); 2_000]);
    assert_eq!((run.failed, run.now), (1, GIVE_UP_AFTER));
}

#[test]
fn a_wait_that_will_not_fit_gives_up_instead_of_shortening() {
    let answers: Vec<_> = (0..1_000).map(|n| answer_after(429, if n % 2 == 0 { 300 } else { 299 })).collect();
    let run = run(LIMITS, &answers);
    assert_eq!(run.failed, 1);
    assert!(run.now < GIVE_UP_AFTER);
}

#[test]
fn with_a_spool_neither_count_nor_time_ends_it() {
    let run = run(Limits { spooled: true, ..LIMITS }, &[answer(503); 2_000]);
    assert_eq!((run.requests.len(), run.delivered, run.failed), (2_001, 1, 0));
}

#[test]
fn without_retries_there_is_one_attempt_even_with_retry_after() {
    for first in [answer(500), answer_after(429, 5), Outcome::Unreached] {
        let run = run(Limits { retry_max: 0, ..LIMITS }, &[first]);
        assert_eq!((run.requests.len(), run.failed), (1, 1));
    }
}

#[test]
fn t04b_a_pause_holds_the_whole_client() {
    let mut pace = Pace::new(1);
    let mut parts = Parts::new(5);
    pace.settle(&mut parts, answer_after(429, 30), 0, LIMITS, SECOND, 0.0);
    let waiting = Waiting { sealed: true, active: 1_000, flush: true, ..Waiting::default() };
    assert_eq!(next(&pace, waiting, 1, SECOND, 2 * SECOND), Step::Wait(31 * SECOND));
    assert_eq!(next(&pace, waiting, 1, SECOND, 31 * SECOND), Step::Send);
}

#[test]
fn the_last_chance_cuts_a_backoff_short_and_never_a_demanded_pause() {
    let mut pace = Pace::new(1);
    settle(&mut pace, answer(500), LIMITS, Duration::ZERO);
    pace.last_chance();
    assert_eq!(pace.wait(Duration::ZERO), None);
    settle(&mut pace, answer_after(503, 5), LIMITS, Duration::ZERO);
    pace.last_chance();
    pace.hurry(Duration::ZERO);
    assert_eq!(pace.wait(Duration::ZERO), Some(5 * SECOND));
}

#[test]
fn a_flush_cuts_a_backoff_short_but_not_more_often_than_twice_a_second() {
    let mut pace = Pace::new(1);
    let mut now = SECOND;
    let mut requests = 0;
    while now < 61 * SECOND {
        if pace.wait(now).is_none() {
            settle(&mut pace, answer(503), LIMITS, now);
            requests += 1;
        }
        // A game that flushes at every frame.
        pace.hurry(now);
        now += Duration::from_millis(16);
    }
    assert!((115..=121).contains(&requests), "{requests} in a minute");
    let mut pace = Pace::new(1);
    (0..9).for_each(|_| _ = settle(&mut pace, answer(503), LIMITS, SECOND));
    pace.hurry(SECOND);
    assert_eq!(pace.wait(SECOND), None, "the first time it is cut at once");
}

/// Begins as many requests as are allowed, all with the same outcome. Returns how many.
fn round(pace: &mut Pace, outcome: Outcome, now: Duration) -> u32 {
    let begun: Vec<u64> = (0..pace.width()).map(|_| pace.epoch()).collect();
    for epoch in &begun {
        if let Settled::Delivered(_) = pace.settle(&mut Parts::new(1), outcome, *epoch, SPOOLED, now, 0.0) {
            pace.widen(true);
        }
    }
    begun.len() as u32
}

const SPOOLED: Limits = Limits { retry_max: 10, spooled: true, oauth: false };

#[test]
fn more_uploads_are_made_while_the_server_takes_them_and_more_waits() {
    let mut pace = Pace::new(0);
    let widths: Vec<u32> = (0..7).map(|_| round(&mut pace, answer(200), SECOND)).collect();
    assert_eq!(widths, [1, 2, 4, 8, 16, 16, 16]);
    let mut pace = Pace::new(0);
    for _ in 0..10 {
        settle(&mut pace, answer(200), LIMITS, SECOND);
        pace.widen(false);
    }
    assert_eq!(pace.width(), 1, "one carries all that waits");
    let mut pace = Pace::new(5);
    assert_eq!(
        [round(&mut pace, answer(200), SECOND), round(&mut pace, answer(200), SECOND)],
        [1, 5],
        "as the settings say"
    );
    let mut pace = Pace::new(1);
    (0..5).for_each(|_| assert_eq!(round(&mut pace, answer(200), SECOND), 1));
}

#[test]
fn uploads_that_fail_together_are_one_failure_and_the_next_request_goes_alone() {
    for uploads in [0, 16] {
        let mut pace = Pace::new(uploads);
        while pace.width() < 16 {
            round(&mut pace, answer(200), SECOND);
        }
        assert_eq!(round(&mut pace, answer(503), SECOND), 16);
        assert_eq!((pace.width(), pace.wait(SECOND)), (1, Some(SECOND + BACKOFF_BASE)));
        assert_eq!(round(&mut pace, Outcome::Unreached, 2 * SECOND), 1);
        assert_eq!(pace.wait(2 * SECOND), Some(2 * SECOND + 2 * BACKOFF_BASE), "the second in a row");
        assert_eq!(round(&mut pace, answer(200), 4 * SECOND), 1);
        assert_eq!(pace.width(), if uploads == 0 { 2 } else { 16 });
    }
}

#[test]
fn a_demanded_pause_halves_the_uploads_and_a_late_answer_does_not_end_it() {
    let mut pace = Pace::new(0);
    while pace.width() < 16 {
        round(&mut pace, answer(200), SECOND);
    }
    let begun = pace.epoch();
    let mut late = |outcome| pace.settle(&mut Parts::new(1), outcome, begun, SPOOLED, SECOND, 0.0);
    assert_eq!(late(answer_after(429, 10)), Settled::Nothing);
    assert!(matches!(late(answer(200)), Settled::Delivered(_)), "an acknowledged batch is delivered");
    assert_eq!(late(answer_after(429, 5)), Settled::Nothing);
    assert_eq!(late(answer(503)), Settled::Nothing);
    assert_eq!(pace.wait(SECOND), Some(11 * SECOND), "no late answer ends or shortens it");
    assert_eq!(pace.settle(&mut Parts::new(1), answer_after(429, 20), begun, SPOOLED, SECOND, 0.0), Settled::Nothing);
    assert_eq!(pace.wait(SECOND), Some(21 * SECOND), "but it may lengthen it");
    assert_eq!(round(&mut pace, answer(200), 21 * SECOND), 1);
    assert_eq!(pace.width(), 8);
    assert_eq!(pace.wait(21 * SECOND), None);
}

#[test]
fn sixteen_uploads_try_a_failing_server_no_more_often_than_one() {
    for outcome in [answer(503), answer(429), answer_after(429, 7), Outcome::Unreached] {
        let requests = |uploads| {
            let mut pace = Pace::new(uploads);
            let (mut now, mut requests) = (SECOND, 0);
            while now < 61 * SECOND {
                requests += round(&mut pace, outcome, now);
                now = pace.wait(now).expect("a wait");
            }
            requests
        };
        assert_eq!(requests(16), requests(1), "{outcome:?}");
        assert_eq!(requests(0), requests(1), "{outcome:?}");
    }
}

#[test]
fn while_a_request_is_under_way_only_a_full_chunk_is_sent() {
    let mut pace = Pace::new(2);
    round(&mut pace, answer(200), SECOND);
    let step = |pace: &Pace, waiting| next(pace, waiting, 100, 5 * SECOND, 9 * SECOND);
    let some = Waiting { under_way: 1, active: 100, flush: true, ..Waiting::default() };
    let full = Waiting { sealed: true, ..some };
    assert_eq!(step(&pace, some), Step::AwaitOrFill);
    assert_eq!(step(&pace, full), Step::Send);
    assert_eq!(step(&pace, Waiting { is_enough: true, ..full }), Step::Await);
    assert_eq!(step(&pace, Waiting { under_way: 2, ..full }), Step::Await);
    assert_eq!(step(&pace, Waiting { under_way: 2, ..Waiting::default() }), Step::Idle);
    settle(&mut pace, answer(503), LIMITS, Duration::ZERO);
    assert_eq!(step(&pace, full), Step::Await, "one at a time, and it has not come back");
}

#[test]
fn backoff_doubles_up_to_its_limit() {
    let seconds: Vec<f64> = (1..=11).map(|n| backoff(n, 0.0).as_secs_f64()).collect();
    assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]);
    assert_eq!(backoff(u32::MAX, 0.0), BACKOFF_MAX);
}

#[test]
fn exponential_backoff_has_jitter_of_a_tenth_and_stays_below_the_limit() {
    for failures in 1..20 {
        let (least, most) = (backoff(failures, 0.0), backoff(failures, 0.999_999));
        assert_ne!(least, most, "all clients would come back at once");
        assert!(least.max(most) <= BACKOFF_MAX);
        let spread = most.as_secs_f64() / least.as_secs_f64();
        assert!((0.9..=1.1).contains(&spread), "{spread}");
    }
}

#[test]
fn the_backoff_goes_on_over_chunks_until_something_is_delivered() {
    let mut pace = Pace::new(1);
    let once = Limits { retry_max: 0, ..LIMITS };
    for (n, wait) in [0.5, 1.0, 2.0, 4.0].into_iter().enumerate() {
        let settled = settle(&mut pace, answer(503), once, Duration::ZERO);
        assert!(matches!(settled, Settled::Failed(_)), "{n}");
        assert_eq!(pace.wait(Duration::ZERO), Some(Duration::from_secs_f64(wait)));
    }
    settle(&mut pace, answer(200), LIMITS, 60 * SECOND);
    settle(&mut pace, answer(503), LIMITS, 60 * SECOND);
    assert_eq!(pace.wait(60 * SECOND), Some(60 * SECOND + BACKOFF_BASE));
}

#[test]
fn rate_limit_state_is_cleared_on_success() {
    let mut pace = Pace::new(1);
    settle(&mut pace, answer_after(429, 300), LIMITS, Duration::ZERO);
    settle(&mut pace, answer(200), LIMITS, SECOND);
    assert_eq!(pace.wait(SECOND), None);
}

#[test]
fn non_200_2xx_is_success_and_3xx_is_not() {
    for status in [200, 201, 202, 204, 299] {
        assert_eq!(judge(answer(status), LIMITS), Verdict::Delivered, "{status}");
    }
    for status in [300, 301, 302, 303, 304, 307, 308, 399] {
        assert_eq!(judge(answer(status), LIMITS), Verdict::Refused, "{status}");
    }
}

#[test]
fn a_web_page_is_no_acknowledgement() {
    let page = Outcome::Answer { status: 200, retry_after: None, html: true };
    assert_eq!(judge(page, LIMITS), Verdict::Retry);
    let run = run(LIMITS, &[page]);
    assert_eq!((run.requests.len(), run.delivered), (2, 1));
}

#[test]
fn a_web_page_is_no_refusal_and_counts_as_any_failure() {
    let page = |status, retry_after| Outcome::Answer { status, retry_after, html: true };
    for status in [400, 401, 403, 404, 413, 501, 505, 511] {
        let spooled = Run::new(1, SPOOLED).finish(|n, _| if n < 50 { page(status, None) } else { answer(200) });
        assert_eq!((spooled.requests.len(), spooled.delivered), (51, 1), "{status}: the spool keeps it");
        let in_memory = Run::new(1, LIMITS).finish(|_, _| page(status, None));
        assert_eq!((in_memory.requests.len(), in_memory.failed), (11, 1), "{status}");
    }
    assert_eq!(judge(page(404, Some(SECOND)), LIMITS), Verdict::Pause(SECOND));
    let halves = Run::new(4, LIMITS).finish(|_, part| if part.len() > 1 { page(413, None) } else { answer(200) });
    assert_eq!((halves.requests.len(), halves.delivered), (7, 4), "a gateway's limit is one");
}

#[test]
fn retries_1xx_and_refuses_what_is_no_status() {
    assert_eq!(judge(answer(103), LIMITS), Verdict::Retry);
    for status in [0, 99, 600, 999] {
        assert_eq!(judge(answer(status), LIMITS), Verdict::Refused, "{status}");
    }
}

/// A server that refuses every request with one of these messages in it.
fn poisoned(poison: &[usize]) -> impl FnMut(usize, &Range<usize>) -> Outcome {
    move |_, messages| answer(if poison.iter().any(|p| messages.contains(p)) { 400 } else { 200 })
}

#[test]
fn a_poison_message_is_found_and_all_others_are_delivered() {
    for poison in [0, 1, 49, 50, 98, 99] {
        let run = Run::new(100, LIMITS).finish(poisoned(&[poison]));
        assert_eq!((run.delivered, run.failed), (99, 1));
        assert!(run.requests.len() <= 15, "{} requests", run.requests.len());
        assert!(run.counts().iter().all(Option::is_none), "halves are new requests");
        assert_eq!(run.now, Duration::ZERO, "bisecting does not wait");
    }
}

#[test]
fn many_poison_messages_cost_only_themselves() {
    for poison in
        [(0..31).collect::<Vec<_>>(), (0..1_250).collect(), (0..2_500).step_by(2).collect(), (0..2_000).collect()]
    {
        let run = Run::new(2_500, LIMITS).finish(poisoned(&poison));
        assert_eq!((run.delivered, run.failed), (2_500 - poison.len(), poison.len()));
    }
}

#[test]
fn where_nothing_is_accepted_the_rest_is_given_up() {
    for messages in [33, 100, 2_500] {
        let run = Run::new(messages, LIMITS).finish(|_, _| answer(413));
        assert_eq!((run.delivered, run.failed), (0, messages));
        assert!(run.requests.len() <= 12 * REFUSALS_MAX as usize, "{} requests", run.requests.len());
    }
}

#[test]
fn a_half_is_treated_like_any_batch() {
    let run = Run::new(2, LIMITS).finish(|n, _| answer([400, 500, 200, 200][n]));
    assert_eq!(run.counts(), [None, None, Some(1), None]);
    assert_eq!((run.delivered, run.failed), (2, 0));
}

#[test]
fn a_batch_is_sent_when_it_is_full_or_old_or_asked_for() {
    let (pace, interval) = (Pace::new(1), 5 * SECOND);
    let step = |waiting, now| next(&pace, waiting, 100, interval, now);
    let some = Waiting { active: 99, since: SECOND, ..Waiting::default() };
    assert_eq!(step(Waiting::default(), SECOND), Step::Idle);
    assert_eq!(step(Waiting { flush: true, ..Waiting::default() }, SECOND), Step::Idle);
    assert_eq!(step(some, 2 * SECOND), Step::Gather(6 * SECOND));
    assert_eq!(step(some, 6 * SECOND), Step::Send);
    assert_eq!(step(Waiting { active: 100, ..some }, SECOND), Step::Send);
    assert_eq!(step(Waiting { flush: true, ..some }, SECOND), Step::Send);
    assert_eq!(step(Waiting { sealed: true, ..Waiting::default() }, SECOND), Step::Send);
}

#[test]
fn everything_is_settled_once_whatever_the_server_does() {
    const SEED: u64 = 42;
    let servers = crate::rounds(2_000);
    let mut state = SEED;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..servers {
        let messages = 1 + random(300) as usize;
        let mut seen = vec![0; messages];
        let mut pace = Pace::new(1);
        let mut parts = Parts::new(messages);
        let mut now = Duration::ZERO;
        while parts.current().is_some() {
            now = pace.wait(now).unwrap_or(now);
            let outcome = match random(6) {
                0 => Outcome::Unreached,
                1 => answer(400),
                2 => answer_after(503, random(400)),
                3 => answer(100 + random(500) as u16),
                _ => answer(200),
            };
            match pace.settle(&mut parts, outcome, pace.epoch(), LIMITS, now, 0.5) {
                Settled::Nothing => {}
                Settled::Delivered(done) | Settled::Failed(done) => {
                    done.iter().flat_map(|part| part.messages.clone()).for_each(|n| seen[n] += 1);
                }
            }
        }
        assert!(seen.iter().all(|n| *n == 1));
    }
    let result = "each message settled once";
    crate::patience::campaign("whatever a server does", &[(servers, "simulated servers")], Some(SEED), result);
}
