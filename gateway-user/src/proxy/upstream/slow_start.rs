//! Pure: how much of its weight a new or recovered instance has. A model server that has just come up has empty
//! caches; its share grows linearly until it is whole.

/// The scale of a whole share: weights are multiplied by the share, and only proportions matter.
pub(crate) const WHOLE: u64 = 1024;

/// The share at tick `now` of an instance that counts since `since` and is whole after `window` ticks.
pub(crate) fn share(since: u32, now: u32, window: u32) -> u64 {
    let elapsed = u64::from(now.saturating_sub(since));
    match (elapsed * WHOLE).checked_div(u64::from(window)) {
        // Never nothing: one that gets nothing cannot show that it works.
        Some(share) => share.clamp(1, WHOLE),
        None => WHOLE,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::balance::{
            Turns, least,
            simulation::{candidates, seeds},
        },
        WHOLE, share,
    };

    #[test]
    fn a_share_grows_linearly_and_stops_at_the_whole() {
        assert_eq!(share(100, 100, 0), WHOLE, "no slow start");
        assert_eq!([100, 150, 200, 300].map(|now| share(100, now, 100)), [1, WHOLE / 2, WHOLE, WHOLE]);
        assert_eq!(share(100, 50, 100), 1, "another worker's tick may be ahead");
        assert_eq!(share(0, u32::MAX, u32::MAX), WHOLE);
    }

    #[test]
    fn a_newcomer_takes_over_its_part_step_by_step() {
        seeds(10, |random| {
            let mut turns = Turns::default();
            for step in 1..=10_u32 {
                let mut world = candidates(&[WHOLE, WHOLE, WHOLE]);
                world[0].weight = share(1000, 1000 + step * 10, 100);
                let expected = 1_000.0 * f64::from(step) / (20.0 + f64::from(step));
                let by_turns = (0..1_000).filter(|_| turns.next(&world) == Some(0)).count() as f64;
                assert!((by_turns - expected).abs() < 20.0, "{step}: {by_turns}, not {expected}");
                let by_chance = (0..1_000).filter(|_| least(&world, random.next()) == Some(0)).count() as f64;
                assert!((by_chance - expected).abs() < 90.0, "{step}: {by_chance}, not {expected}");
            }
        });
    }
}
