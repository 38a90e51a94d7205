//! Short texts between two keys.

/// A text that is not before `last` and before `next`: as short as a beginning of `next` can be, else
/// `last` itself. It ends where a character ends, as keys do.
///
/// `last` must come before `next`.
#[must_use]
pub fn between(last: &str, next: &str) -> String {
    let ends = next.char_indices().map(|(at, _)| at).skip(1);
    ends.map(|end| &next[..end]).find(|beginning| *beginning >= last).unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn c04_bounds_are_as_short_as_they_can_be() {
        for (last, next, bound) in [
            ("a", "b", "a"),
            ("apple", "banana", "b"),
            ("2025/12/31/z", "2026/01/01/a", "2026"),
            ("k0001", "k0002", "k0001"),
            ("k0001/with/more", "k0002/with/more", "k0002"),
            ("a", "ab", "a"),
            ("", "a", ""),
            ("é", "ü1", "ü"),
        ] {
            assert_eq!(between(last, next), bound, "{last} | {next}");
        }
    }

    proptest! {
        #[test]
        fn c04_a_bound_parts_two_keys(a in "[a-bé\u{1f600}]{0,6}", b in "[a-bé\u{1f600}]{0,6}") {
            prop_assume!(a != b);
            let (last, next) = if a < b { (a, b) } else { (b, a) };
            let bound = between(&last, &next);
            prop_assert!(last <= bound && bound < next, "{:?} {:?} {:?}", last, bound, next);
        }
    }
}
