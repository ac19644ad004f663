//! Texts with what differs from run to run taken out. Pure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

#[expect(clippy::unwrap_used, reason = "the pattern is a constant, and tested")]
static VARYING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?P<timestamp>\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))",
        r"|(?P<uuid>\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b)",
        r"|(?P<token>\bps[bk]_[a-z]+_[A-Za-z0-9_-]+)",
        r"|(?P<time>\b\d\d:\d\d:\d\d\b)",
    ))
    .unwrap()
});

/// What a document writes for a value that nobody can know: `<any-name>`.
#[expect(clippy::unwrap_used, reason = "the pattern is a constant, and tested")]
static HOLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"<([a-z][a-z0-9-]*)>").unwrap());

/// Which id of the document stands for which one of this run: the same id must stay the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bindings(BTreeMap<String, String>);

/// Whether a text has the shape of the one in the document, and if not, why.
pub(super) fn matches(expected: &str, actual: &str, bindings: &mut Bindings) -> Result<(), String> {
    let unlike = || format!("expected {expected:?}, found {actual:?}");
    if HOLE.is_match(expected) {
        return if hole_pattern(expected).is_some_and(|pattern| pattern.is_match(actual)) {
            Ok(())
        } else {
            Err(unlike())
        };
    }
    if shape(expected) != shape(actual) {
        return Err(unlike());
    }
    // Equal shapes have the same kinds in the same order.
    let ids = |text| ids(text).map(str::to_lowercase).collect::<Vec<_>>();
    for (shown, found) in ids(expected).into_iter().zip(ids(actual)) {
        let bound = bindings.0.entry(shown.clone()).or_insert_with(|| found.clone());
        if *bound != found {
            return Err(format!(
                "the id that the document shows as {shown} was {bound} before, and is {found} now"
            ));
        }
    }
    Ok(())
}

/// The text with `<uuid>`, `<timestamp>`, `<time>` and `<token>` in the place of such values.
fn shape(text: &str) -> String {
    let kind = |found: &regex::Captures<'_>| {
        let kinds = ["timestamp", "uuid", "token", "time"];
        let kind = kinds.into_iter().find(|kind| found.name(kind).is_some()).unwrap_or_default();
        format!("<{kind}>")
    };
    VARYING.replace_all(text, kind).into_owned()
}

fn ids(text: &str) -> impl Iterator<Item = &str> {
    VARYING.captures_iter(text).filter_map(|found| found.name("uuid").map(|uuid| uuid.as_str()))
}

/// A pattern for a text with holes. `<number>` takes digits, `<uuid>`, `<time>`, `<timestamp>` and `<token>` such
/// values, any other name whatever has no white space.
fn hole_pattern(expected: &str) -> Option<Regex> {
    let mut pattern = String::from(r"^");
    let mut last = 0;
    for hole in HOLE.captures_iter(expected) {
        let whole = hole.get(0)?;
        pattern.push_str(&literal(&expected[last..whole.start()]));
        pattern.push_str(match &hole[1] {
            "number" => r"-?\d+(?:\.\d+)?",
            "uuid" => r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
            "time" => r"\d\d:\d\d:\d\d",
            "timestamp" => r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*",
            "token" => r"ps[bk]_\S+",
            _ => r"\S+",
        });
        last = whole.end();
    }
    pattern.push_str(&literal(&expected[last..]));
    pattern.push('$');
    Regex::new(&pattern).ok()
}

/// A pattern for text without holes, in which values still vary.
fn literal(text: &str) -> String {
    let mut pattern = String::new();
    let mut last = 0;
    for found in VARYING.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        pattern.push_str(&regex::escape(&text[last..whole.start()]));
        pattern.push_str(r"\S+");
        last = whole.end();
    }
    pattern.push_str(&regex::escape(&text[last..]));
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "019ed553-bf6c-7289-9dcb-4fb9917409b9";
    const B: &str = "019ed6a1-8638-779f-9c18-4910165c1e1a";
    const X: &str = "01a00000-0000-7000-8000-000000000001";

    fn fits(expected: &str, actual: &str) -> bool {
        matches(expected, actual, &mut Bindings::default()).is_ok()
    }

    #[test]
    fn values_of_a_kind_stand_for_one_another_and_for_nothing_else() {
        assert!(fits(A, X) && fits("14:31:02 Pending", "09:00:00 Pending"));
        assert!(fits("at 2026-06-17T00:00:00Z", "at 2027-01-01T10:20:30.123+02:00"));
        assert!(fits("token: psb_dev_abc_node_x", "token: psb_prod_zz9_node_yy"));
        assert!(!fits(A, "") && !fits(A, "null") && !fits(A, "14:31:02"));
        assert!(!fits("14:31:02 Pending", "14:31:02 Ready") && !fits("3 nodes", "4 nodes"));
    }

    #[test]
    fn an_id_that_is_shown_twice_is_the_same_twice() {
        let mut bindings = Bindings::default();
        assert!(matches(A, X, &mut bindings).is_ok());
        assert!(matches(&format!("id {B} of {A}"), &format!("id {A} of {X}"), &mut bindings).is_ok());
        let error = matches(A, B, &mut bindings).unwrap_err();
        assert!(error.contains(X) && error.contains(B), "{error}");
    }

    #[test]
    fn a_hole_takes_what_its_name_says() {
        assert!(fits("took <number> s", "took 12.5 s") && !fits("took <number> s", "took long s"));
        assert!(fits("<name> (1) 10:00:00", "x.y (1) 11:11:11") && !fits("<name> (1)", "x y (1)"));
        assert!(fits("id <uuid>", &format!("id {A}")) && !fits("id <uuid>", "id 7"));
    }
}
