//! "Did you mean": the known name nearest to an unknown one.

/// Names less alike than this are no help.
const ALIKE: f64 = 0.7;

/// The nearest of the known names, if one is near.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let scored = known.into_iter().map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    let best = scored.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (best.0 >= ALIKE).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typo_finds_its_name_and_noise_finds_none() {
        let known = ["adopt-via-eso", "adopt-via-eso-expired-token"];
        assert_eq!(nearest("adopt-via-oes", known), Some("adopt-via-eso"));
        assert_eq!(nearest("zzz", known), None);
    }
}
