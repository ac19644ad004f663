//! Plays a document: block after block in one shell, with the sign-ins and repetitions that its text asks for.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use plexlab_harness::redact::Redactor;
use regex::Regex;
use secrecy::ExposeSecret;
use tokio::sync::watch;
use url::Url;

use super::compare::{Bindings, compare};
use super::document::{Block, Document, SignIn};
use super::outcome::{BlockOutcome, Played, Verdict};
use super::prompts;
use super::session::{End, Ran, Session, SessionError, Settings};
use crate::clients::browser::Person;

/// Between two tries of a block that is refused for a moment. Documents say "a second".
const PAUSE: Duration = Duration::from_millis(500);
/// Programs that documents take for granted; a block that names one which is not there is skipped.
const PROGRAMS: [&str; 10] =
    ["aws", "az", "cargo", "gcloud", "helm", "jq", "kubectl", "make", "psql", "vault"];
/// Output of a failed block that is quoted, in letters, from its end.
const QUOTED: usize = 2000;

#[expect(clippy::unwrap_used, reason = "the pattern is a constant, and tested")]
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(https?://[^\s"'<>]+)[\s"'<>]"#).unwrap());
#[expect(clippy::unwrap_used, reason = "the pattern is a constant, and tested")]
static USER_CODE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b([A-Z0-9]{4}-[A-Z0-9]{4})\s").unwrap());

#[expect(clippy::unwrap_used, reason = "the pattern is a constant, and tested")]
static TOKEN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bpsb_[a-z]+_[A-Za-z0-9_-]+").unwrap());

/// How a document is played.
#[derive(Debug, Clone)]
pub struct Options {
    /// The shell.
    pub settings: Settings,
    /// Answers to prompts such as `<project-uuid>`, by name.
    pub answers: BTreeMap<String, String>,
    /// Texts of blocks that stand for others here, such as the document's address of the control plane.
    pub replacements: BTreeMap<String, String>,
    /// How long a block may take, one try.
    pub limit: Duration,
    /// How long a block that is refused is tried again, where the document says so.
    pub retry_for: Duration,
}

/// Plays a document. Each block is told to `news` as it ends. After a block that failed the others are skipped:
/// they need what it was to do.
///
/// # Errors
/// [`SessionError`] when the shell fails. A block that fails is an outcome, not an error.
pub async fn play(
    document: &Document,
    options: &Options,
    redactor: &Redactor,
    mut news: impl FnMut(&BlockOutcome),
) -> Result<Played, SessionError> {
    let mut player = Player {
        session: Session::start(&options.settings)?,
        options,
        redactor,
        bindings: Bindings::default(),
        token: None,
        skipped: None,
        notes: notes(document, options),
        stopped: None,
    };
    let mut played = Played::default();
    for block in &document.blocks {
        let outcome = player.block(block).await?;
        news(&outcome);
        played.blocks.push(outcome);
    }
    played.notes = player.notes;
    Ok(played)
}

/// What is done otherwise than a reader would.
fn notes(document: &Document, options: &Options) -> Vec<String> {
    let has = |what: &dyn Fn(&Block) -> bool| document.blocks.iter().any(what);
    let mut notes = Vec::new();
    if has(&|block| block.code.contains("sleep ")) && options.settings.sleep_divisor > 1 {
        notes.push(format!(
            "sleep in the document's shell is {} times shorter",
            options.settings.sleep_divisor
        ));
    }
    if has(&|block| block.code.contains(" logs ") && block.code.contains(" -f")) {
        notes.push(format!("a log that is followed is followed for {:?}", options.settings.follow));
    }
    if has(&|block| block.sign_in.is_some()) {
        notes.push("sign-ins are played at the provider's pages, each in a browser of its own".to_owned());
    }
    for (from, to) in &options.replacements {
        if from != to && has(&|block| block.code.contains(from.as_str())) {
            notes.push(format!("{from} in the document is {to} here"));
        }
    }
    notes
}

struct Player<'a> {
    session: Session,
    options: &'a Options,
    redactor: &'a Redactor,
    bindings: Bindings,
    /// The last bootstrap token that a block printed: documents say `<plaintext-from-step-1>` later.
    token: Option<String>,
    /// Line of the first block that was skipped: what fails later may fail for want of it.
    skipped: Option<usize>,
    /// What was done otherwise than a reader would.
    notes: Vec<String>,
    /// Why no block runs any more.
    stopped: Option<String>,
}

impl Player<'_> {
    async fn block(&mut self, block: &Block) -> Result<BlockOutcome, SessionError> {
        let begun = Instant::now();
        let code = prompts::replaced(&block.code, &self.options.replacements);
        let (code, mut unanswered) = prompts::answered(&code, &self.options.answers);
        let mut answers = self.options.answers.clone();
        if let Some(token) = &self.token {
            let plaintexts = unanswered.extract_if(.., |name| name.starts_with("plaintext"));
            answers.extend(plaintexts.map(|name| (name, token.clone())));
        }
        let (code, _) = prompts::answered(&code, &answers);
        let code = self.without_alternatives(block.line, code).await?;
        let (mut verdict, tries) = match self.obstacle(&code, &unanswered).await? {
            Some(reason) => (Verdict::Skipped { reason }, 0),
            None => self.run(block, &code).await?,
        };
        match &mut verdict {
            Verdict::Passed => {}
            Verdict::Skipped { .. } => {
                self.skipped.get_or_insert(block.line);
            }
            Verdict::Failed { reasons } => {
                self.stopped.get_or_insert(format!("the block at line {} failed", block.line));
                if let Some(line) = self.skipped {
                    reasons.push(format!("the block at line {line} was skipped; this one may need it"));
                }
            }
        }
        Ok(BlockOutcome {
            line: block.line,
            title: title(&block.code),
            verdict,
            elapsed: begun.elapsed(),
            tries,
        })
    }

    /// The block without the paragraphs that need a program that is not there, if others do without: documents show
    /// the same step for several stores in one block.
    async fn without_alternatives(&mut self, line: usize, code: String) -> Result<String, SessionError> {
        if self.stopped.is_some() || !code.contains("\n\n") {
            return Ok(code);
        }
        let mut missing = Vec::new();
        for program in PROGRAMS.into_iter().filter(|program| names(&code, program)) {
            if !self.session.has(program).await? {
                missing.push(program);
            }
        }
        let needs = |paragraph: &&str| missing.iter().any(|program| names(paragraph, program));
        let (left_out, kept): (Vec<_>, Vec<_>) = code.split("\n\n").partition(needs);
        if left_out.is_empty() || kept.is_empty() {
            return Ok(code);
        }
        let number = left_out.len();
        self.notes.push(format!(
            "{number} of the paragraphs of the block at line {line} were left out: they need {}",
            missing.join(", ")
        ));
        Ok(kept.join("\n\n"))
    }

    /// Why a block cannot run.
    async fn obstacle(&mut self, code: &str, unanswered: &[String]) -> Result<Option<String>, SessionError> {
        if let Some(reason) = &self.stopped {
            return Ok(Some(reason.clone()));
        }
        if let Some(name) = unanswered.first() {
            return Ok(Some(format!(
                "the document leaves <{name}> to its reader: answer with --set {name}=VALUE"
            )));
        }
        for program in PROGRAMS.into_iter().filter(|program| names(code, program)) {
            if !self.session.has(program).await? {
                return Ok(Some(format!("it needs {program}, which is not on the PATH")));
            }
        }
        Ok(None)
    }

    async fn run(&mut self, block: &Block, code: &str) -> Result<(Verdict, u32), SessionError> {
        let begun = Instant::now();
        let mut tries = 0;
        let mut pause = tokio::time::interval(PAUSE);
        loop {
            pause.tick().await;
            tries += 1;
            let (ran, signed_in) = self.once(block, code).await?;
            let refused = ran.end != End::TimedOut && is_refused(&ran);
            if block.is_retried && refused && begun.elapsed() < self.options.retry_for {
                continue;
            }
            let mut reasons = self.judge(block, &ran);
            if let Err(why) = signed_in {
                reasons.insert(0, why);
            }
            if refused && block.is_retried {
                let waited = begun.elapsed().as_secs();
                reasons.insert(0, format!("it was still refused after {waited} s and {tries} tries"));
            }
            if reasons.is_empty() {
                return Ok((Verdict::Passed, tries));
            }
            let reasons = reasons.iter().map(|reason| self.redactor.redact(reason).into_owned()).collect();
            return Ok((Verdict::Failed { reasons }, tries));
        }
    }

    /// Runs the block, and signs in meanwhile when the document says so.
    async fn once(&mut self, block: &Block, code: &str) -> Result<(Ran, Result<(), String>), SessionError> {
        let (seen, watched) = watch::channel(String::new());
        let limit = self.options.limit;
        let Some(who) = &block.sign_in else {
            return Ok((self.session.run(code, limit, &seen).await?, Ok(())));
        };
        let running = self.session.run(code, limit, &seen);
        let signing_in = sign_in(who, watched);
        tokio::pin!(running, signing_in);
        tokio::select! {
            ran = &mut running => Ok((ran?, Ok(()))),
            signed_in = &mut signing_in => match signed_in {
                Ok(()) => Ok((running.await?, Ok(()))),
                // The command would wait for a decision that never comes.
                Err(why) => {
                    let soon = tokio::time::timeout(Duration::from_secs(2), &mut running).await;
                    let ran = match soon {
                        Ok(ran) => ran?,
                        Err(_) => Ran { end: End::Shell, stdout: String::new(), stderr: seen.borrow().clone() },
                    };
                    Ok((ran, Err(why)))
                }
            },
        }
    }

    fn judge(&mut self, block: &Block, ran: &Ran) -> Vec<String> {
        if let Some(token) = TOKEN.find(&ran.stdout) {
            self.redactor.register(token.as_str());
            self.token = Some(token.as_str().to_owned());
        }
        let mut reasons = Vec::new();
        match ran.end {
            End::Status(0) => {}
            End::Status(status) => reasons.push(format!("a command in it ended with {status}")),
            End::Shell => {
                reasons.push("it ended the shell".to_owned());
                self.stopped = Some(format!("the block at line {} ended the shell", block.line));
            }
            End::TimedOut => {
                reasons.push(format!("it had not ended after {:?} and was killed", self.options.limit));
                self.stopped = Some(format!("the block at line {} hung; the shell was killed", block.line));
            }
        }
        if reasons.is_empty()
            && let Some(expected) = &block.expected
            && let Err(difference) = compare(expected, &ran.stdout, &mut self.bindings)
        {
            reasons
                .push(format!("its output is not what the document shows from line {} on:", difference.line));
            reasons.extend(difference.reasons);
            reasons.push(difference.diff);
        }
        if !reasons.is_empty() {
            for (name, text) in [("standard output", &ran.stdout), ("standard error", &ran.stderr)] {
                if !text.trim().is_empty() {
                    reasons.push(format!("{name}:\n{}", quoted(text)));
                }
            }
        }
        reasons
    }
}

/// Waits for the address that a command prints, and does there what a person would.
async fn sign_in(who: &SignIn, mut seen: watch::Receiver<String>) -> Result<(), String> {
    let url = loop {
        if let Some(url) = verification_url(&seen.borrow_and_update()) {
            break url;
        }
        if seen.changed().await.is_err() {
            return Ok(());
        }
    };
    let password = who.password.expose_secret().to_owned();
    let person = Person::new(&who.login, password.into()).map_err(|error| error.to_string())?;
    let arrived = person.visit(&url).await;
    let failed = |why: String| Err(format!("the sign-in of {} failed: {why}", who.login));
    match arrived {
        Err(error) => failed(error.to_string()),
        Ok(arrived) if !arrived.approved && !arrived.signed_in => {
            failed(format!("{} asked for nothing: {}", arrived.url, arrived.text))
        }
        Ok(_) => Ok(()),
    }
}

/// The address at which a device code is approved, in what a command printed so far.
fn verification_url(text: &str) -> Option<Url> {
    let addresses = || {
        ADDRESS.captures_iter(text).filter_map(|found| Url::parse(found[1].trim_end_matches(['.', ','])).ok())
    };
    if let Some(complete) = addresses().find(|url| url.query_pairs().any(|(name, _)| name == "user_code")) {
        return Some(complete);
    }
    let mut page = addresses().find(|url| url.path().contains("device"))?;
    let code = USER_CODE.captures(text)?;
    page.query_pairs_mut().append_pair("user_code", &code[1]);
    Some(page)
}

/// Whether a command was told that somebody may not.
fn is_refused(ran: &Ran) -> bool {
    [&ran.stdout, &ran.stderr].iter().any(|text| text.to_lowercase().contains("permission denied"))
}

/// Whether code calls a program of this name: the word stands where a command can.
fn names(code: &str, program: &str) -> bool {
    code.match_indices(program).any(|(at, _)| {
        let before = code[..at].trim_end_matches([' ', '\t']);
        let after = code[at + program.len()..].chars().next();
        let word_ends = after.is_none_or(|letter| letter.is_whitespace() || letter == ')');
        let begins = before.is_empty() || before.ends_with(['\n', '|', ';', '(', '&', '`']);
        let joined =
            !before.is_empty() && before.len() == at && !before.ends_with(['\n', '|', ';', '(', '&', '`']);
        word_ends && begins && !joined
    })
}

/// The first line that is a command.
fn title(code: &str) -> String {
    let mut lines = code.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().find(|line| !line.starts_with('#')).or_else(|| lines.next());
    let first = first.unwrap_or("(empty)").trim_end_matches('\\').trim_end();
    let short: String = first.chars().take(72).collect();
    if short.len() < first.len() { format!("{short}\u{2026}") } else { short }
}

fn quoted(text: &str) -> String {
    let text = text.trim_end();
    let skipped = text.chars().count().saturating_sub(QUOTED);
    let end: String = text.chars().skip(skipped).collect();
    if skipped > 0 { format!("\u{2026}{end}") } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_once_it_is_whole() {
        let url = |text: &str| verification_url(text).map(String::from);
        assert_eq!(url("Open http://localhost:8080/v1/device?user_code=K7QM-2F"), None, "more may come");
        assert_eq!(
            url("Docs: https://x.test/\nOpen http://localhost:8080/v1/device?user_code=K7QM-2FXA\n")
                .as_deref(),
            Some("http://localhost:8080/v1/device?user_code=K7QM-2FXA")
        );
        assert_eq!(
            url("Open http://localhost:8080/v1/device and enter K7QM-2FXA\n").as_deref(),
            Some("http://localhost:8080/v1/device?user_code=K7QM-2FXA")
        );
        assert_eq!(url("see https://docs.test/ \n"), None);
    }

    #[test]
    fn a_program_is_named_where_a_command_can_stand() {
        for code in ["jq .", "a | jq -r '.x'", "X=$(jq . f)", "a \\\n  | jq .", "a; jq x", "x && jq"] {
            assert!(names(code, "jq"), "{code}");
        }
        for code in ["plexctl x --jq", "echo jq-like", "# the jq program", "xjq ."] {
            assert!(!names(code, "jq"), "{code}");
        }
    }

    #[test]
    fn a_title_is_the_first_command() {
        assert_eq!(title("# comment\n\nvault kv put x \\\n y"), "vault kv put x");
        assert_eq!(title(""), "(empty)");
        assert_eq!(title(&"x".repeat(100)).chars().count(), 73);
    }
}
