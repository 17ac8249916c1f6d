//! Message ids: random UUIDs, made without a system call, and never the same in a forked child.

use std::cell::RefCell;

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};
use uuid::Builder;

use crate::base::fork;

/// Length of an id as text.
pub(crate) const LENGTH: usize = 36;

struct Generator {
    generation: u32,
    random: Option<StdRng>,
}

thread_local! {
    // A cryptographic generator: someone who sees some ids must not be able to guess the next one, and have that
    // message dropped as a duplicate. Its 256 bits of state keep the streams of all threads in the world apart.
    static GENERATOR: RefCell<Generator> = const { RefCell::new(Generator { generation: 0, random: None }) };
}

/// A new random UUID (version 4) as lower-case text.
pub(crate) fn new() -> [u8; LENGTH] {
    let mut text = [0; LENGTH];
    Builder::from_random_bytes(random()).into_uuid().hyphenated().encode_lower(&mut text);
    text
}

/// The same as a `String`.
pub(crate) fn text() -> String {
    new().iter().map(|byte| char::from(*byte)).collect()
}

/// The same id for the same name, everywhere and always.
pub(crate) fn named(name: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).hyphenated().to_string()
}

/// A random number from 0 up to, not including, 1: for jitter.
pub(crate) fn fraction() -> f64 {
    let [a, b, c, d, ..] = random();
    f64::from(u32::from_le_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

fn random() -> [u8; 16] {
    #[cfg(test)]
    if let Some(drawn) = crate::simulator::threads::random() {
        return drawn;
    }
    // A thread that is ending has no thread-locals any more, and gets a fresh generator.
    let drawn = GENERATOR.try_with(|generator| generator.borrow_mut().draw());
    drawn.unwrap_or_else(|_| Generator { generation: 0, random: None }.draw())
}

impl Generator {
    fn draw(&mut self) -> [u8; 16] {
        // A child has its parent's memory, random state included.
        let generation = fork::generation();
        let random = match &mut self.random {
            Some(random) if self.generation == generation => random,
            stale => {
                self.generation = generation;
                stale.insert(seeded())
            }
        };
        let mut bytes = [0; 16];
        random.fill_bytes(&mut bytes);
        bytes
    }
}

fn seeded() -> StdRng {
    StdRng::try_from_rng(&mut SysRng).unwrap_or_else(|_| {
        // No kernel randomness at all (a chroot without /dev on a very old kernel). The standard library's hash keys
        // are the next best thing, and differ for each call.
        use std::hash::{BuildHasher, RandomState};
        let mut seed = [0; 32];
        for (n, part) in seed.chunks_mut(8).enumerate() {
            let hash = RandomState::new().hash_one((n, std::process::id(), std::time::SystemTime::now()));
            part.copy_from_slice(&hash.to_le_bytes());
        }
        StdRng::from_seed(seed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_uuids_of_version_4() {
        let id = String::from_utf8(new().to_vec()).expect("ASCII");
        let uuid = uuid::Uuid::parse_str(&id).expect("a UUID");
        assert_eq!(uuid.get_version_num(), 4);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(id, id.to_lowercase());
    }

    #[test]
    fn ids_do_not_repeat_across_threads() {
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(|| (0..25_000).map(|_| new()).collect::<Vec<_>>())).collect();
        let ids: HashSet<_> = threads.into_iter().flat_map(|t| t.join().expect("no panic")).collect();
        assert_eq!(ids.len(), 100_000);
    }

    #[test]
    fn a_fork_gives_new_ids() {
        // Two copies of one generator, as a fork makes them: the same ids, until the child notices the fork.
        let seed = [7; 32];
        let generation = fork::generation();
        let copy = || Generator { generation, random: Some(StdRng::from_seed(seed)) };
        assert_eq!(copy().draw(), copy().draw());
        let mut child = copy();
        child.generation = generation.wrapping_sub(1);
        assert_ne!(child.draw(), copy().draw());
    }

    #[test]
    fn fractions_stay_below_one() {
        let drawn: Vec<f64> = (0..1000).map(|_| fraction()).collect();
        assert!(drawn.iter().all(|f| (0.0..1.0).contains(f)));
        assert!(drawn.iter().any(|f| *f > 0.9) && drawn.iter().any(|f| *f < 0.1));
    }
}
