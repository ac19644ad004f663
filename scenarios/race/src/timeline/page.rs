//! The timeline as one HTML page: no network, readable without scripts, which only filter.

use super::{Line, Story};

/// Lines that a page shows; more would make it too long for a browser and a mail.
const MOST: usize = 3_000;

/// The page.
pub fn page(story: &Story) -> String {
    let all = &story.lines;
    // In the order in which they come in.
    let mut lanes: Vec<&str> = Vec::new();
    for line in all {
        if !lanes.contains(&line.lane.as_str()) {
            lanes.push(&line.lane);
        }
    }
    let timed = all.iter().any(|line| !line.when.is_empty());
    let mut body = String::new();
    for line in all.iter().take(MOST) {
        row(line, &lanes, timed, &mut body);
    }
    let heads: String =
        lanes.iter().map(|lane| format!("<th scope=\"col\">{}</th>", escaped(lane))).collect();
    let options: String =
        lanes.iter().map(|lane| format!("<option value=\"{0}\">{0}</option>", escaped(lane))).collect();
    let wrong = all.iter().flat_map(|line| line.broken.iter().map(move |what| (line.number, what)));
    let count = wrong.clone().count();
    let broken: String = wrong
        .take(MOST)
        .map(|(at, what)| {
            format!("<li><a href=\"#e{at}\">{} <span>(entry {at})</span></a></li>", escaped(what))
        })
        .collect();
    let steps: String =
        story.schedule.iter().take(MOST).map(|step| format!("<li>{}</li>", escaped(step))).collect();
    let schedule = match story.schedule.len() {
        0 => String::new(),
        count => format!(
            "<details><summary>Schedule: {count} steps</summary><ol class=\"schedule\">{steps}</ol></details>"
        ),
    };
    let facts: String = story
        .facts
        .iter()
        .map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value)))
        .collect();
    let left_out = match all.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!("<p>{more} more entries are in the file that this page was made of.</p>"),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\
<title>{name}: timeline</title><style>{css}</style></head><body>\
<a class=\"skip\" href=\"#timeline\">To the timeline</a>\
<header><h1>{name}</h1><dl>{facts}</dl></header>\
<main><section aria-labelledby=\"broken\"><h2 id=\"broken\">{wrong}: {count}</h2><ul class=\"broken\">{broken}</ul></section>\
{schedule}\
<section aria-labelledby=\"timeline\"><h2 id=\"timeline\" tabindex=\"-1\">What happened</h2>\
<form role=\"search\" onsubmit=\"return false\"><label>Search <input id=\"text\" type=\"search\"></label>\
<label>Lane <select id=\"lane\"><option value=\"\">all</option>{options}</select></label>\
<label><input id=\"only\" type=\"checkbox\"> only what is wrong</label>\
<output id=\"shown\" aria-live=\"polite\">{shown} entries</output></form>\
<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Timeline, in lanes\"><table><thead><tr><th scope=\"col\">No.</th>{time}{heads}</tr></thead>\
<tbody>{body}</tbody></table></div>{left_out}</section></main><script>{script}</script></body></html>\n",
        name = escaped(&story.title),
        wrong = escaped(&story.wrong),
        time = if timed { "<th scope=\"col\">Time</th>" } else { "" },
        css = include_str!("page.css"),
        script = include_str!("page.js"),
        shown = all.len().min(MOST),
    )
}

fn row(line: &Line, lanes: &[&str], timed: bool, into: &mut String) {
    let class = match (line.broken.is_empty(), line.lane.as_str()) {
        (false, _) => " class=\"wrong\"",
        (true, "fault") => " class=\"fault\"",
        _ => "",
    };
    into.push_str(&format!(
        "<tr id=\"e{number}\" tabindex=\"-1\" data-lane=\"{lane}\"{class}><th scope=\"row\">{number}</th>",
        number = line.number,
        lane = escaped(&line.lane)
    ));
    if timed {
        into.push_str(&format!("<td class=\"when\">{}</td>", escaped(&line.when)));
    }
    for lane in lanes {
        if *lane != line.lane {
            into.push_str("<td></td>");
            continue;
        }
        into.push_str(&format!("<td><span class=\"event\">{}</span>", escaped(&line.what)));
        for broken in &line.broken {
            into.push_str(&format!("<strong class=\"rule\">{}</strong>", escaped(broken)));
        }
        into.push_str("</td>");
    }
    into.push_str("</tr>");
}

/// As text and attribute values stand in HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capsule::Capsule;
    use crate::explore::search;
    use crate::history::Event;
    use crate::mutants;

    fn capsule() -> Capsule {
        let (scenario, options) = mutants::named("check-then-act").unwrap().world().unwrap();
        let failure = search(scenario, &options, 1, 500).unwrap();
        Capsule::new(scenario, &options, 1, &failure)
    }

    #[test]
    fn it_shows_every_entry_and_loads_nothing() {
        let capsule = capsule();
        let page = page(&Story::from(&capsule));
        assert_eq!(page.matches("<tr id=\"e").count(), capsule.timeline.len());
        assert!(page.contains("one-winner") && page.contains("default-src 'none'"));
        for source in ["http://", "https://", "src=", "url(", "@import"] {
            assert!(!page.contains(source), "{source}");
        }
    }

    #[test]
    fn what_a_stranger_wrote_is_text() {
        let mut capsule = capsule();
        capsule.scenario = "<script>alert(1)</script>".into();
        capsule.timeline[0].event = Event::Fault("\"><img src=x onerror=alert(1)>\u{1b}[2J".into());
        let story = Story::from(&capsule);
        let page = page(&story);
        assert!(!page.contains("<script>alert") && !page.contains("<img"));
        assert!(!super::super::text(&story).contains('\u{1b}'));
    }

    #[test]
    fn even_the_longest_page_is_below_two_megabytes() {
        let mut capsule = capsule();
        let entry = capsule.timeline[0].clone();
        capsule.timeline = vec![entry; 50_000];
        let page = page(&Story::from(&capsule));
        assert!(page.len() < 2_000_000 && page.contains("more entries"), "{}", page.len());
    }
}
