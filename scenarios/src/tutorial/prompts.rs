//! What a document leaves to its reader: names in angle brackets, and addresses of its own stack. Pure.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

#[expect(clippy::unwrap_used, reason = "the pattern is a constant, and tested")]
static PROMPT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"<([a-z][a-z0-9]*(?:-[a-z0-9]+)*)>").unwrap());

/// Text with prompts answered. The second is the prompts without an answer, once each, in order.
pub fn answered(text: &str, answers: &BTreeMap<String, String>) -> (String, Vec<String>) {
    let mut unanswered: Vec<String> = Vec::new();
    let answered = PROMPT.replace_all(text, |found: &regex::Captures<'_>| match answers.get(&found[1]) {
        Some(answer) => answer.clone(),
        None => {
            if !unanswered.contains(&found[1].to_owned()) {
                unanswered.push(found[1].to_owned());
            }
            found[0].to_owned()
        }
    });
    let answered = answered.into_owned();
    (answered, unanswered)
}

/// Text in which other literal texts stand for some, the longest first.
pub fn replaced(text: &str, replacements: &BTreeMap<String, String>) -> String {
    let mut longest: Vec<_> = replacements.iter().collect();
    longest.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
    longest.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from.as_str(), to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
    }

    #[test]
    fn prompts_are_answered_and_redirections_left_alone() {
        let (text, missing) = answered(
            "a --project <project-uuid> <x> <x> < in 2>&1 <<EOF > out",
            &map(&[("project-uuid", "p1")]),
        );
        assert_eq!(
            (text.as_str(), missing),
            ("a --project p1 <x> <x> < in 2>&1 <<EOF > out", vec!["x".to_owned()])
        );
    }

    #[test]
    fn the_longest_text_is_replaced_first() {
        let replacements = map(&[("http://localhost", "B"), ("http://localhost:8080", "A")]);
        assert_eq!(replaced("http://localhost:8080 http://localhost", &replacements), "A B");
    }
}
