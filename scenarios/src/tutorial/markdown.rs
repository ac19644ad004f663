//! Documents in Markdown. Pure.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::document::Part;

/// The document's paragraphs and blocks, in order.
pub fn parts(text: &str) -> Vec<Part> {
    let starts = line_starts(text);
    let line = |offset: usize| starts.partition_point(|start| *start <= offset);
    let mut parts = Vec::new();
    let mut code: Option<(String, Option<usize>, String)> = None;
    let mut prose: Option<(usize, String)> = None;
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter();
    for (event, range) in events {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                parts.extend(ended(&mut prose));
                let language = match kind {
                    CodeBlockKind::Fenced(info) => {
                        info.split([' ', ',', '{']).next().unwrap_or_default().to_lowercase()
                    }
                    // Indented text is shown, not run.
                    CodeBlockKind::Indented => "indented".to_owned(),
                };
                code = Some((language, None, String::new()));
            }
            Event::End(TagEnd::CodeBlock) => {
                if let Some((language, first, text)) = code.take() {
                    let line = first.unwrap_or_else(|| line(range.start) + 1);
                    parts.push(Part::Code { line, language, text: text.trim_end_matches('\n').to_owned() });
                }
            }
            Event::Text(words) => match (&mut code, &mut prose) {
                (Some((_, first, text)), _) => {
                    first.get_or_insert_with(|| line(range.start));
                    text.push_str(&words);
                }
                (None, Some((_, text))) => text.push_str(&words),
                (None, None) => prose = Some((line(range.start), words.to_string())),
            },
            Event::Code(words) => {
                let (_, text) = prose.get_or_insert_with(|| (line(range.start), String::new()));
                text.push_str(&words);
            }
            Event::SoftBreak | Event::HardBreak => {
                if let Some((_, text)) = &mut prose {
                    text.push(' ');
                }
            }
            Event::End(
                TagEnd::Paragraph
                | TagEnd::Heading(_)
                | TagEnd::Item
                | TagEnd::TableCell
                | TagEnd::TableRow
                | TagEnd::BlockQuote(_),
            ) => parts.extend(ended(&mut prose)),
            _ => {}
        }
    }
    parts.extend(ended(&mut prose));
    parts
}

fn ended(prose: &mut Option<(usize, String)>) -> Option<Part> {
    prose.take().map(|(line, text)| Part::Prose { line, text })
}

/// Offsets at which lines begin.
fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_their_lines_and_text() {
        let found = parts(
            "# Title\n\nSome `code` and\nmore.\n\n- item\n\n  ```bash title=x\n  a\n\n  b\n  ```\n\n~~~\nout\n~~~\n\n    indented\n",
        );
        let code: Vec<_> = found
            .iter()
            .filter_map(|part| match part {
                Part::Code { line, language, text } => Some((*line, language.as_str(), text.as_str())),
                Part::Prose { .. } => None,
            })
            .collect();
        assert_eq!(code, [(9, "bash", "a\n\nb"), (15, "", "out"), (18, "indented", "indented")]);
        assert_eq!(found[1], Part::Prose { line: 3, text: "Some code and more.".into() });
    }

    #[test]
    fn an_empty_block_is_a_block() {
        assert_eq!(
            parts("```bash\n```\n"),
            [Part::Code { line: 2, language: "bash".into(), text: String::new() }]
        );
    }
}
