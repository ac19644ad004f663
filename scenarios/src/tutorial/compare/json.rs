//! JSON by structure, with keys in the order in which they are printed. Pure.

use serde_json::Value;

use super::shape::{Bindings, matches};
use crate::provisioning::phase::Phase;

/// Keys whose values are compared without regard to letter case: sources print them both ways.
const ANY_CASE: [&str; 1] = ["origin"];

/// Whether a phase is the expected one, or one that comes after it on the same way up or down: a document shows where a
/// Resource was when its author looked, and a quick broker may have taken it further by the time of the look.
fn has_gone_on(expected: &str, actual: &str) -> bool {
    let at = |way: &[Phase], phase: &str| way.iter().position(|known| known.as_str() == phase);
    let ways = [&Phase::UP[..], &Phase::DOWN];
    ways.iter()
        .any(|way| matches!((at(way, expected), at(way, actual)), (Some(from), Some(to)) if to >= from))
}

/// All differences, each with the path of the value. Both texts may hold several documents.
pub(super) fn differences(expected: &str, actual: &str, bindings: &mut Bindings) -> Vec<String> {
    let expected = match documents(expected) {
        Ok(documents) => documents,
        Err(error) => return vec![format!("the document's own block is no JSON: {error}")],
    };
    let actual = match documents(actual) {
        Ok(documents) => documents,
        Err(error) => return vec![format!("the output is no JSON: {error}")],
    };
    let mut found = Vec::new();
    if expected.len() != actual.len() {
        found.push(format!("expected {} JSON documents, found {}", expected.len(), actual.len()));
    }
    for (index, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
        let path = if index == 0 { "$".to_owned() } else { format!("${index}") };
        value(&path, expected, actual, false, bindings, &mut found);
    }
    found
}

fn documents(text: &str) -> Result<Vec<Value>, serde_json::Error> {
    serde_json::Deserializer::from_str(text).into_iter().collect()
}

fn value(
    path: &str,
    expected: &Value,
    actual: &Value,
    any_case: bool,
    bindings: &mut Bindings,
    found: &mut Vec<String>,
) {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            let keys = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            if keys(expected) != keys(actual) {
                let [expected, actual] = [keys(expected), keys(actual)].map(|keys| keys.join(", "));
                found.push(format!("{path}: expected the keys {expected}; found {actual}"));
            }
            for (key, expected) in expected {
                if let Some(actual) = actual.get(key) {
                    let any_case = ANY_CASE.contains(&key.as_str());
                    value(&format!("{path}.{key}"), expected, actual, any_case, bindings, found);
                }
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            if expected.len() != actual.len() {
                found.push(format!("{path}: expected {} items, found {}", expected.len(), actual.len()));
            }
            for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                value(&format!("{path}[{index}]"), expected, actual, any_case, bindings, found);
            }
        }
        (Value::String(expected), Value::String(actual)) => {
            let same = any_case && expected.eq_ignore_ascii_case(actual)
                || path.ends_with(".phase") && has_gone_on(expected, actual);
            if !same && let Err(why) = matches(expected, actual, bindings) {
                found.push(format!("{path}: {why}"));
            }
        }
        (expected, actual) if expected == actual => {}
        (expected, actual) => found.push(format!("{path}: expected {expected}, found {actual}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: &str, actual: &str) -> Vec<String> {
        differences(expected, actual, &mut Bindings::default())
    }

    #[test]
    fn structure_and_order_count_and_white_space_does_not() {
        assert_eq!(check("{\"a\": [1, {\"b\": null}]}", "{\"a\":[1,{\"b\":null}]}"), [""; 0]);
        assert_eq!(
            check("{\"a\": 1, \"b\": 2}", "{\"b\": 2, \"a\": 1}"),
            ["$: expected the keys a, b; found b, a"]
        );
        assert_eq!(
            check("{\"a\": {\"b\": [1, 2]}}", "{\"a\": {\"b\": [1]}}"),
            ["$.a.b: expected 2 items, found 1"]
        );
        assert_eq!(check("{\"a\": true}", "{\"a\": \"true\"}"), ["$.a: expected true, found \"true\""]);
        assert_eq!(check("{\"a\": 1}", "{\"a\": 2}"), ["$.a: expected 1, found 2"]);
    }

    #[test]
    fn an_origin_may_be_in_any_case_and_a_phase_may_not() {
        assert_eq!(check("{\"origin\": \"Provisioned\"}", "{\"origin\": \"provisioned\"}"), [""; 0]);
        assert_eq!(check("{\"phase\": \"Pending\"}", "{\"phase\": \"pending\"}").len(), 1);
    }

    #[test]
    fn a_phase_may_have_gone_on_and_not_back() {
        for (expected, actual, wrong) in [
            ("Pending", "Pending", 0),
            ("Pending", "Ready", 0),
            ("Deregistering", "Deleted", 0),
            ("Provisioning", "Pending", 1),
            ("Pending", "Failed", 1),
            ("Pending", "Deleted", 1),
        ] {
            let text = |phase: &str| format!("{{\"phase\": \"{phase}\"}}");
            assert_eq!(check(&text(expected), &text(actual)).len(), wrong, "{expected} {actual}");
        }
        assert_eq!(check("{\"kind\": \"Pending\"}", "{\"kind\": \"Ready\"}").len(), 1);
    }

    #[test]
    fn what_is_no_json_or_too_much_is_said() {
        assert!(check("{}", "error: no").first().unwrap().starts_with("the output is no JSON"));
        assert_eq!(check("{}", ""), ["expected 1 JSON documents, found 0"]);
        assert_eq!(check("{}", "{}\n{}"), ["expected 1 JSON documents, found 2"]);
    }
}
