//! What came of a document.

use std::time::Duration;

use serde::Serialize;

/// What came of all its blocks, in order.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Played {
    /// The blocks.
    pub blocks: Vec<BlockOutcome>,
    /// What was done otherwise than a reader would, in sentences.
    pub notes: Vec<String>,
}

/// What came of a block.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockOutcome {
    /// Line of the document, from 1.
    pub line: usize,
    /// Its first command.
    pub title: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Time taken, in seconds, all tries together.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
    /// How often it was run.
    pub tries: u32,
}

/// The verdict on a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// It ended with 0 and printed what the document shows, if that shows anything.
    Passed,
    /// It did not.
    Failed {
        /// Why, in sentences and excerpts, secrets left out.
        reasons: Vec<String>,
    },
    /// It was not run.
    Skipped {
        /// Why not.
        reason: String,
    },
}

impl Played {
    /// How many blocks passed.
    pub fn passed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Passed))
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Failed { .. }))
    }

    /// How many were skipped.
    pub fn skipped(&self) -> usize {
        self.count(|verdict| matches!(verdict, Verdict::Skipped { .. }))
    }

    fn count(&self, is: impl Fn(&Verdict) -> bool) -> usize {
        self.blocks.iter().filter(|block| is(&block.verdict)).count()
    }

    /// For people: one line per block, reasons below, a count at the end.
    pub fn summary(&self) -> String {
        let mut text: String = self.blocks.iter().map(BlockOutcome::summary).collect();
        for note in &self.notes {
            text.push_str(&format!("note: {note}\n"));
        }
        let (passed, failed, skipped) = (self.passed(), self.failed(), self.skipped());
        text.push_str(&format!("{passed} passed, {failed} failed, {skipped} skipped\n"));
        text
    }
}

impl BlockOutcome {
    /// One line, and the reasons below it.
    pub fn summary(&self) -> String {
        let (word, below) = match &self.verdict {
            Verdict::Passed => ("passed", Vec::new()),
            Verdict::Failed { reasons } => ("FAILED", reasons.clone()),
            Verdict::Skipped { reason } => ("skipped", vec![reason.clone()]),
        };
        let tries = if self.tries > 1 { format!(", {} tries", self.tries) } else { String::new() };
        let (line, title, seconds) = (self.line, &self.title, self.elapsed.as_secs_f64());
        let mut text = format!("{word:<8} line {line:<4} {title} ({seconds:.1} s{tries})\n");
        for line in below.iter().flat_map(|reason| reason.lines()) {
            text.push_str(&format!("         {line}\n"));
        }
        text
    }
}

fn seconds<S: serde::Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((elapsed.as_secs_f64() * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_and_why() {
        let block = |line, verdict, tries| BlockOutcome {
            line,
            title: "plexctl whoami".into(),
            verdict,
            elapsed: Duration::from_millis(1250),
            tries,
        };
        let played = Played {
            blocks: vec![
                block(7, Verdict::Passed, 2),
                block(12, Verdict::Failed { reasons: vec!["it ended with 3".into(), "a\nb".into()] }, 1),
                block(20, Verdict::Skipped { reason: "a block before it failed".into() }, 0),
            ],
            notes: vec!["sleeps are 20 times shorter".into()],
        };
        insta::assert_snapshot!(played.summary(), @r"
        passed   line 7    plexctl whoami (1.2 s, 2 tries)
        FAILED   line 12   plexctl whoami (1.2 s)
                 it ended with 3
                 a
                 b
        skipped  line 20   plexctl whoami (1.2 s)
                 a block before it failed
        note: sleeps are 20 times shorter
        1 passed, 1 failed, 1 skipped
        ");
    }
}
