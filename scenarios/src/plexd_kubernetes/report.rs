//! The conformance table: Markdown for people, JSON and JUnit for programs.

use std::fmt::Write as _;

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::ledger::Finding;
use super::suite::Judgement;

/// One line that counts.
pub fn summary(judgement: &Judgement) -> String {
    let passed = judgement.count(|finding| matches!(finding, Finding::Pass { .. }));
    let failed = judgement.count(|finding| matches!(finding, Finding::Fail { .. }));
    let skipped = judgement.count(|finding| matches!(finding, Finding::Skipped { .. }));
    format!(
        "{} statements of plexd={}: {passed} hold, {failed} do not, {skipped} could not be tried ({:.1} s)",
        judgement.statements.len(),
        judgement.agent,
        judgement.seconds
    )
}

/// The table by section; below it, each failure with what was expected, what was seen, and how to see it again.
pub fn markdown(judgement: &Judgement) -> String {
    let mut text = format!("# plexd on Kubernetes: conformance\n\n{}\n", summary(judgement));
    text.push_str(&gaps(judgement));
    let mut section = "";
    for judged in &judgement.statements {
        if judged.section != section {
            section = judged.section;
            let _ = write!(text, "\n## {section}\n\n| statement | | verdict | |\n|---|---|---|---|\n");
        }
        let (verdict, note) = match &judged.finding {
            Finding::Pass { evidence } => ("pass", short(evidence)),
            Finding::Fail { cause: Some(cause), .. } => ("**FAIL**", format!("follows from `{cause}`")),
            Finding::Fail { seen, .. } => ("**FAIL**", short(seen)),
            Finding::Skipped { why } => ("skipped", short(why)),
        };
        let _ = writeln!(text, "| `{}` | {} | {verdict} | {note} |", judged.id, cell(&judged.text));
    }
    let failures = judgement.statements.iter().filter_map(|judged| match &judged.finding {
        Finding::Fail { expected, seen, evidence, .. } => Some((judged, expected, seen, evidence)),
        _ => None,
    });
    for (judged, expected, seen, evidence) in failures {
        let _ = write!(
            text,
            "\n### `{}`: {}\n\n- expected: {expected}\n- seen: {seen}\n- again: `{}`\n",
            judged.id, judged.text, judged.rerun
        );
        if !evidence.is_empty() {
            let _ = write!(text, "\n```\n{evidence}\n```\n");
        }
    }
    text
}

/// What is behind the failures; empty when there are none.
fn gaps(judgement: &Judgement) -> String {
    let gaps = judgement.gaps();
    if gaps.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n## Findings\n\n| finding | shown by | seen | failed | not tried |\n|---|---|---|---|---|\n",
    );
    for gap in gaps {
        let seen = match &gap.root.finding {
            Finding::Fail { seen, .. } => short(seen),
            _ => String::new(),
        };
        // The root itself is one of those that failed.
        let (failed, untried) = (gap.failed.len() + 1, gap.untried.len());
        let _ =
            writeln!(text, "| {} | `{}` | {seen} | {failed} | {untried} |", gap.kind.describe(), gap.root.id);
    }
    text
}

fn short(text: &str) -> String {
    let mut text = cell(text);
    if let Some((cut, _)) = text.char_indices().nth(120) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

fn cell(text: &str) -> String {
    text.replace(['\n', '\r'], " ").replace('|', "\\|")
}

/// For CI systems: a suite per section, a case per statement.
///
/// # Errors
/// When the XML cannot be written.
pub fn junit(judgement: &Judgement) -> Result<String, SerializeError> {
    let mut report = Report::new("plexd-kubernetes");
    let mut suites: Vec<TestSuite> = Vec::new();
    for judged in &judgement.statements {
        let status = match &judged.finding {
            Finding::Pass { .. } => TestCaseStatus::success(),
            Finding::Skipped { why } => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(why.clone());
                status
            }
            Finding::Fail { expected, seen, evidence, .. } => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(format!("expected {expected}, seen {seen}"));
                status.set_description(format!("{evidence}\nrerun: {}", judged.rerun));
                status
            }
        };
        let mut case = TestCase::new(judged.id, status);
        case.set_classname(judged.section);
        case.set_system_out(judged.text.clone());
        match suites.iter_mut().find(|suite| suite.name.as_str() == judged.section) {
            Some(suite) => {
                suite.add_test_case(case);
            }
            None => {
                let mut suite = TestSuite::new(judged.section);
                suite.add_test_case(case);
                suites.push(suite);
            }
        }
    }
    report.add_test_suites(suites);
    report.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plexd_kubernetes::suite::{GapKind, Judged};

    #[test]
    fn failures_are_told_by_what_is_behind_them() {
        let judged =
            |id, finding| Judged { id, section: "Config", text: "x".into(), finding, rerun: String::new() };
        let failed = |cause| Finding::Fail {
            expected: "a request".into(),
            seen: "none".into(),
            evidence: String::new(),
            cause,
        };
        let skipped = |why: &str| Finding::Skipped { why: why.into() };
        let statements = vec![
            judged("env.in-cluster", failed(None)),
            judged("state.name", failed(Some("env.in-cluster"))),
            judged("state.data", failed(Some("state.name"))),
            judged("http.tls", skipped("rests on state.name, which failed")),
            judged("validate.audit", skipped("cannot be seen")),
            judged("daemonset.live", failed(None)),
        ];
        let judgement = Judgement { agent: "bin:x".into(), statements, seconds: 1.0 };
        let gaps = judgement.gaps();
        let told: Vec<_> =
            gaps.iter().map(|gap| (gap.kind, gap.root.id, gap.failed.len(), gap.untried.len())).collect();
        assert_eq!(
            told,
            [(GapKind::NotLinkedIn, "env.in-cluster", 2, 1), (GapKind::NoEndpoint, "daemonset.live", 0, 0)]
        );
        let text = super::gaps(&judgement);
        assert!(text.contains("| `env.in-cluster` | none | 3 | 1 |"), "{text}");
    }

    #[test]
    fn all_three_verdicts_are_told_apart_in_both_forms() {
        let judged = |id, finding| Judged {
            id,
            section: "Config",
            text: "a | b".into(),
            finding,
            rerun: format!("cargo xtask conformance plexd --check {id}"),
        };
        let failed = Finding::Fail {
            expected: "10s".into(),
            seen: "60s".into(),
            evidence: "a line".into(),
            cause: None,
        };
        let statements = vec![
            judged("a.one", Finding::Pass { evidence: "seen".into() }),
            judged("a.two", failed),
            judged("a.three", Finding::Skipped { why: "no way".into() }),
        ];
        let judgement = Judgement { agent: "stand-in".into(), statements, seconds: 1.5 };
        insta::assert_snapshot!("markdown", markdown(&judgement));
        insta::assert_snapshot!("junit", junit(&judgement).unwrap());
    }
}
