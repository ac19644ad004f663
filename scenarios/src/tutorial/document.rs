//! A document as steps: shell blocks with what the text around them says. Pure.

use secrecy::SecretString;

use super::prose::{self, RetryNote};
use super::{markdown, plain};

/// Languages of blocks that are executed.
const SHELL: [&str; 4] = ["bash", "sh", "shell", "zsh"];
/// Languages of blocks that may show what the block before them prints.
const OUTPUT: [&str; 5] = ["json", "text", "console", "output", ""];

/// A piece of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A paragraph, heading or list item, without markup.
    Prose {
        /// Line where it begins, from 1.
        line: usize,
        /// The text.
        text: String,
    },
    /// A block of code.
    Code {
        /// Line of its first line, from 1.
        line: usize,
        /// Its language; empty when none is named.
        language: String,
        /// The text, without a newline at its end.
        text: String,
    },
}

/// A document to be played.
#[derive(Debug, Clone, Default)]
pub struct Document {
    /// Blocks in order.
    pub blocks: Vec<Block>,
}

/// A shell block.
#[derive(Debug, Clone)]
pub struct Block {
    /// Line of its first line, from 1.
    pub line: usize,
    /// What is executed.
    pub code: String,
    /// What the document shows as its output.
    pub expected: Option<Expected>,
    /// Who signs in in the browser meanwhile.
    pub sign_in: Option<SignIn>,
    /// Whether it is repeated while it is refused, as the document advises.
    pub is_retried: bool,
}

/// Output that a document shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Line of its first line, from 1.
    pub line: usize,
    /// Its language.
    pub language: String,
    /// The text.
    pub text: String,
}

/// Who signs in.
#[derive(Debug, Clone)]
pub struct SignIn {
    /// The name.
    pub login: String,
    /// The password, as the document gives it.
    pub password: SecretString,
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Markdown with fenced code.
    Markdown,
    /// A page saved as text: a line that is only a language's name begins a block.
    Plain,
}

/// Markdown if any block is fenced, else a plain page.
pub fn form_of(text: &str) -> Form {
    let fenced = text.lines().any(|line| {
        let line = line.trim_start();
        line.starts_with("```") || line.starts_with("~~~")
    });
    if fenced { Form::Markdown } else { Form::Plain }
}

impl Document {
    /// Reads a document of either form.
    pub fn read(text: &str) -> Self {
        let parts = match form_of(text) {
            Form::Markdown => markdown::parts(text),
            Form::Plain => plain::parts(text),
        };
        Self::of(&parts)
    }

    /// The steps of a document.
    pub fn of(parts: &[Part]) -> Self {
        let mut reader = Reader::default();
        for part in parts {
            match part {
                Part::Prose { text, .. } => reader.prose(text),
                Part::Code { line, language, text } => reader.code(*line, language, text),
            }
        }
        Self { blocks: reader.blocks }
    }
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    /// Who the next block signs in.
    sign_in: Option<SignIn>,
    /// Whether the next block is retried.
    retry_next: bool,
    /// Whether a paragraph just before asks to apply a manifest.
    applies: bool,
    /// Whether nothing stands between here and the last shell block.
    follows_block: bool,
}

impl Reader {
    fn prose(&mut self, text: &str) {
        self.follows_block = false;
        self.applies = prose::asks_to_apply(text);
        if let Some(sign_in) = prose::sign_in(text) {
            self.sign_in = Some(sign_in);
        }
        match prose::retry(text) {
            None => {}
            Some(RetryNote::NextBlock) => self.retry_next = true,
            Some(RetryNote::Command(command)) => {
                match self.blocks.last_mut().filter(|block| block.code.contains(&command)) {
                    Some(block) => block.is_retried = true,
                    None => self.retry_next = true,
                }
            }
        }
    }

    fn code(&mut self, line: usize, language: &str, text: &str) {
        if SHELL.contains(&language) {
            self.block(line, text.to_owned());
        } else if language == "yaml" && self.applies && text.contains("kind:") {
            // The document tells people to apply it and leaves the command to them.
            self.block(line, format!("kubectl apply -f - <<'PLEXLAB_MANIFEST'\n{text}\nPLEXLAB_MANIFEST"));
            self.follows_block = false;
        } else if self.follows_block && OUTPUT.contains(&language) {
            let expected = Expected { line, language: language.to_owned(), text: text.to_owned() };
            if let Some(block) = self.blocks.last_mut() {
                block.expected = Some(expected);
            }
            self.follows_block = false;
        }
        self.applies = false;
    }

    fn block(&mut self, line: usize, code: String) {
        self.blocks.push(Block {
            line,
            code,
            expected: None,
            sign_in: self.sign_in.take(),
            is_retried: std::mem::take(&mut self.retry_next),
        });
        self.follows_block = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_text_says_belongs_to_the_block_it_speaks_of() {
        let document = Document::read(
            "Now sign in, completing sign-in in the browser as `a@example.com` with the password `pw`:\n\
             \n```bash\nplexctl login\n```\n\
             \n```bash\nID=$(plexctl project create)\necho \"$ID\"\n```\n```text\n<id>\n```\n\
             \nIf the next command returns Permission Denied, wait a second and re-run it.\n\
             \n```bash\nplexctl credential assignment request\n```\n\
             \n```json\n{}\n```\n\
             \n```bash\nplexctl resource create\n```\n\
             \nIf `resource create` returns `Permission Denied: no`, wait a second and re-run it.\n\
             \n```text\nno output of a command\n```\n",
        );
        let blocks: Vec<_> = document
            .blocks
            .iter()
            .map(|block| {
                let expected =
                    block.expected.as_ref().map(|expected| (expected.line, expected.text.as_str()));
                (block.line, block.sign_in.as_ref().map(|who| who.login.as_str()), block.is_retried, expected)
            })
            .collect();
        assert_eq!(
            blocks,
            [
                (4, Some("a@example.com"), false, None),
                (8, None, false, Some((12, "<id>"))),
                (18, None, true, Some((22, "{}"))),
                (26, None, true, None),
            ]
        );
    }

    #[test]
    fn a_manifest_that_is_to_be_applied_is_applied() {
        let manifest = "```yaml\nkind: Secret\n```\n";
        let applied = Document::read(&format!("Apply a Secret:\n\n{manifest}"));
        assert!(
            applied.blocks[0].code.starts_with("kubectl apply -f - <<'PLEXLAB_MANIFEST'\nkind: Secret\n")
        );
        assert_eq!(Document::read(&format!("It looks so:\n\n{manifest}")).blocks.len(), 0);
    }
}
