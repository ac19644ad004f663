//! Web pages saved as text, in which the fences of code blocks are gone. Pure.
//!
//! A line that is only the name of a language begins a block on the next line. It ends
//!
//! - at the next such line;
//! - for `json`: where the value is complete;
//! - for other output: at the first empty line;
//! - for shell and `yaml`: at an empty line after which something follows that reads like prose. Code after an
//!   empty line begins with a comment, an assignment or a known command (or, in `yaml`, with a key, an item or
//!   white space), and no paragraph of it ends like a sentence. What is within quotes, a here-document or brackets
//!   that are still open belongs to the block in any case.

use std::sync::LazyLock;

use regex::Regex;

use super::document::Part;

const MARKERS: [&str; 9] = ["bash", "sh", "shell", "json", "text", "yaml", "console", "sql", "toml"];

/// First words of commands. Pages do not begin a paragraph with them in lower case but in a sentence, which ends
/// like one.
const COMMANDS: [&str; 34] = [
    "apt", "aws", "az", "cargo", "case", "cat", "cd", "chmod", "curl", "docker", "echo", "eval", "export",
    "flux", "for", "gcloud", "git", "helm", "if", "jq", "kind", "kubectl", "make", "mkdir", "plexctl",
    "plexd", "psql", "set", "sleep", "source", "sudo", "until", "vault", "while",
];

#[expect(clippy::unwrap_used, reason = "the patterns are constants, and each is tested")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Za-z_][A-Za-z0-9_]*="));
static YAML: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\s|#|---|- |[\w./-]+:(\s|$))"));
static HERE: LazyLock<Regex> = LazyLock::new(|| pattern(r#"<<-?\s*['"]?(\w+)['"]?"#));

/// The page's paragraphs and blocks, in order.
pub fn parts(text: &str) -> Vec<Part> {
    let lines: Vec<&str> = text.lines().collect();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_end();
        if MARKERS.contains(&line) && lines.get(at + 1).is_some_and(|next| !next.trim().is_empty()) {
            let end = block_end(&lines, at + 1, line);
            let text = lines[at + 1..end].join("\n").trim_end().to_owned();
            parts.push(Part::Code { line: at + 2, language: line.to_owned(), text });
            at = end;
        } else if line.is_empty() {
            at += 1;
        } else {
            let end = chunk_end(&lines, at);
            parts.push(Part::Prose { line: at + 1, text: lines[at..end].join(" ") });
            at = end;
        }
    }
    parts
}

/// The first empty line or marker from here.
fn chunk_end(lines: &[&str], from: usize) -> usize {
    let rest = lines.iter().enumerate().skip(from);
    let end = rest.skip(1).find(|(_, line)| line.trim().is_empty() || MARKERS.contains(&line.trim_end()));
    end.map_or(lines.len(), |(index, _)| index)
}

fn block_end(lines: &[&str], from: usize, language: &str) -> usize {
    match language {
        "json" => json_end(lines, from).unwrap_or_else(|| chunk_end(lines, from)),
        "bash" | "sh" | "shell" | "yaml" | "sql" | "toml" => code_end(lines, from, language),
        _ => chunk_end(lines, from),
    }
}

/// The line after a complete value.
fn json_end(lines: &[&str], from: usize) -> Option<usize> {
    let whole = |end: usize| serde_json::from_str::<serde_json::Value>(&lines[from..end].join("\n")).is_ok();
    (from + 1..=lines.len()).find(|end| whole(*end))
}

fn code_end(lines: &[&str], from: usize, language: &str) -> usize {
    let mut end = chunk_end(lines, from);
    loop {
        let next = lines.iter().enumerate().skip(end).find(|(_, line)| !line.trim().is_empty());
        let Some((start, first)) = next else { return end };
        let after = chunk_end(lines, start);
        let is_open = language != "yaml" && is_open(&lines[from..end].join("\n"));
        let is_marker = MARKERS.contains(&first.trim_end());
        if is_marker || !(is_open || reads_like_code(&lines[start..after], language)) {
            return end;
        }
        end = after;
    }
}

fn reads_like_code(chunk: &[&str], language: &str) -> bool {
    let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { return false };
    if last.trim_end().ends_with(['.', ':', ';', '!', '?'])
        && !last.starts_with([' ', '\t', '#'])
        && language != "yaml"
    {
        return false;
    }
    if language == "yaml" {
        return chunk.iter().all(|line| YAML.is_match(line) && !line.trim_end().ends_with('.'));
    }
    let word = first.split_whitespace().next().unwrap_or_default();
    first.starts_with("# ") || ASSIGNMENT.is_match(first) || COMMANDS.contains(&word)
}

/// Whether shell text ends within quotes, a here-document, or brackets. A little less than a shell knows: enough
/// to tell whether an empty line is part of the text.
fn is_open(code: &str) -> bool {
    if let Some(here) = HERE.captures_iter(code).last() {
        let after = &code[here.get(0).map_or(0, |found| found.end())..];
        if !after.lines().skip(1).any(|line| line.trim() == &here[1]) {
            return true;
        }
    }
    let (mut quote, mut depth, mut previous) = (None, 0_i32, '\n');
    let mut letters = code.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None | Some('"'), '\\') => {
                letters.next();
            }
            (Some(open), letter) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '#') if previous.is_whitespace() => {
                // A comment: an apostrophe in it opens nothing.
                letters.by_ref().find(|letter| *letter == '\n');
            }
            (None, '(' | '{') => depth += 1,
            (None, ')' | '}') => depth -= 1,
            _ => {}
        }
        previous = letter;
    }
    quote.is_some() || depth > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<(usize, String, String)> {
        let code = |part| match part {
            Part::Code { line, language, text } => Some((line, language, text)),
            Part::Prose { .. } => None,
        };
        parts(text).into_iter().filter_map(code).collect()
    }

    fn block(line: usize, language: &str, text: &str) -> (usize, String, String) {
        (line, language.to_owned(), text.to_owned())
    }

    #[test]
    fn a_shell_block_goes_on_after_an_empty_line_while_it_reads_like_code() {
        let page = "Read this:\n\nbash\nexport A=1\nexport B=2\n\neval \"$(make -s ids)\"\necho \"$A\"\n\n\
                    The id is known:\n\nbash\nC=1\n\nStep 1 \u{2014} Do it\n\nkubectl and helm are needed.\n\n\
                    shell\n# one\nvault kv put x \\\n  y='z'\n\n# two, don't worry\naws x\n\n\
                    make sure that it runs.\n";
        assert_eq!(
            code(page),
            [
                block(4, "bash", "export A=1\nexport B=2\n\neval \"$(make -s ids)\"\necho \"$A\""),
                block(13, "bash", "C=1"),
                block(20, "shell", "# one\nvault kv put x \\\n  y='z'\n\n# two, don't worry\naws x"),
            ]
        );
    }

    #[test]
    fn output_follows_without_an_empty_line_and_ends_with_its_value() {
        let page = "bash\nplexctl x | jq '{a}'\njson\n{\n  \"a\": [\n\n    1]\n}\nmaterialised: true means yes.\n\n\
                    bash\nwhile true; do\n  echo\ndone\ntext\n14:31:02 Pending\n14:31:12 Ready\n\nEach phase is real:\n";
        assert_eq!(
            code(page),
            [
                block(2, "bash", "plexctl x | jq '{a}'"),
                block(4, "json", "{\n  \"a\": [\n\n    1]\n}"),
                block(12, "bash", "while true; do\n  echo\ndone"),
                block(16, "text", "14:31:02 Pending\n14:31:12 Ready"),
            ]
        );
    }

    #[test]
    fn an_open_quote_or_here_document_holds_the_block_together() {
        let page =
            "bash\npsql -c \"SELECT 1;\n\nSELECT 2;\"\n\nbash\ncat <<EOF\nOne.\n\nTwo.\nEOF\n\nDone.\n";
        assert_eq!(
            code(page),
            [
                block(2, "bash", "psql -c \"SELECT 1;\n\nSELECT 2;\""),
                block(7, "bash", "cat <<EOF\nOne.\n\nTwo.\nEOF")
            ]
        );
    }

    #[test]
    fn a_manifest_ends_where_a_sentence_about_its_first_key_begins() {
        let page =
            "yaml\nkind: A\nspec:\n  x: y\n\nmetadata:\n  name: b\n\nrefreshInterval: 0s disables polling.\n";
        assert_eq!(code(page), [block(2, "yaml", "kind: A\nspec:\n  x: y\n\nmetadata:\n  name: b")]);
    }

    #[test]
    fn a_word_alone_is_no_block_without_one_after_it() {
        assert_eq!(code("text\n\nbash\n"), []);
    }
}
