//! Did you mean: the candidate that a misspelt word is closest to.

/// The candidate that `word` most likely means, or `None` when it is close to none. Case, `_` and `-` do not count
/// (`maxReplicas` means `max-replicas`); otherwise at most three edits, fewer in a short word.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Beyond this nothing that we name is meant, and the distance would take time.
    const LONGEST: usize = 128;
    if word.len() > LONGEST {
        return None;
    }
    let plain = simplified(word);
    let allowed = match plain.chars().count() {
        0..=3 => 1,
        4..=8 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&plain, &simplified(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn simplified(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    const KEYS: [&str; 3] = ["autoscale", "max-replicas", "skip"];

    #[test]
    fn typos_and_other_spellings_are_recognised() {
        for (word, meant) in [
            ("autoscle", "autoscale"),
            ("auto-scale", "autoscale"),
            ("atuoscale", "autoscale"),
            ("autoscaling", "autoscale"),
            ("maxReplicas", "max-replicas"),
            ("max-replica", "max-replicas"),
            ("skp", "skip"),
        ] {
            assert_eq!(nearest(word, KEYS), Some(meant), "{word}");
        }
    }

    #[test]
    fn far_words_mean_nothing() {
        for word in ["", "team", "owner", "cost-centre"] {
            assert_eq!(nearest(word, KEYS), None, "{word}");
        }
        assert_eq!(nearest(&"a".repeat(100_000), KEYS), None);
    }
}
