//! Everything that can happen to a request, at random: two candidates never hold the lease at once.

use super::*;

/// The latest that a request comes in.
const LATEST: Duration = Duration::from_secs(40);

/// For every 20 s and candidate a mood of the way to the API server, for every request a fate.
fn weather(seed: u64, clears_up: Instant) -> impl FnMut(&'static str) -> Fate + Send + 'static {
    let begin = Instant::now();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut moods = Vec::new();
    move |_| {
        let slice = usize::try_from(begin.elapsed().as_secs() / 20).unwrap();
        while moods.len() <= slice {
            moods.push(random(4));
        }
        let bad = match moods[slice] {
            0 | 1 => false,
            2 => random(2) == 0,
            _ => true,
        };
        if !bad || Instant::now() >= clears_up {
            return Fate::Served;
        }
        match random(8) {
            0 => Fate::Refused(500),
            1 => Fate::Refused(409),
            2 | 3 => Fate::Late(LATEST.mul_f64(f64::from(u32::try_from(random(1000)).unwrap()) / 1000.0)),
            4 | 5 => Fate::Unanswered,
            _ => Fate::Lost,
        }
    }
}

/// Three copies for eight minutes of bad weather, each started again when it ends; then it clears up.
#[tokio::test(start_paused = true)]
async fn two_never_hold_it_at_once_whatever_happens_to_their_requests() {
    let (mut takeovers, mut losses) = (0, 0);
    for seed in 1..=20 {
        let api = FakeApi::default();
        let clears_up = Instant::now() + Duration::from_mins(8);
        let mut started = 0;
        let mut start = |n: usize| {
            started += 1;
            Candidate::start(api.client(weather(seed * 1000 + started, clears_up)), &format!("{n}-{started}"))
        };
        let mut candidates: Vec<_> = (0..3).map(&mut start).collect();
        let mut last = None;
        while Instant::now() < clears_up {
            sleep(Duration::from_millis(100)).await;
            let holders: Vec<_> =
                (0..3).filter(|n| candidates[*n].claim.deadline(Duration::ZERO).is_some()).collect();
            assert!(holders.len() <= 1, "seed {seed}, {:?} before the end", clears_up - Instant::now());
            if let [holder] = holders[..] {
                takeovers += usize::from(last.replace(holder) != Some(holder));
            }
            for (n, candidate) in candidates.iter_mut().enumerate() {
                if candidate.running.is_finished() {
                    losses += 1;
                    *candidate = start(n);
                }
            }
        }
        // What was late comes in, too, and may make a lease longer whose holder is gone.
        sleep(LATEST + DURATION * 2 + RETRY * 2).await;
        assert_eq!(candidates.iter().filter(|candidate| candidate.claim.holds()).count(), 1, "seed {seed}");
        candidates.into_iter().for_each(Candidate::kill);
    }
    // Or else nothing was tried.
    assert!(takeovers > 100 && losses > 100, "{takeovers} takeovers, {losses} losses");
}
