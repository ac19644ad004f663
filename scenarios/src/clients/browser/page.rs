//! What a page holds that matters to a person: its title, its text, its forms and links.

use html5gum::{DefaultEmitter, Token, Tokenizer};

/// A page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Title.
    pub title: String,
    /// What can be read, white space folded.
    pub text: String,
    /// What is announced as a problem (`role="alert"`).
    pub alert: String,
    /// Forms, in order.
    pub forms: Vec<Form>,
    /// Where links lead, in order.
    pub links: Vec<String>,
}

/// A form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// Where it goes; empty is the page itself.
    pub action: String,
    /// Whether it is sent with POST.
    pub is_post: bool,
    /// Fields that are sent with every button, in order.
    pub fields: Vec<Field>,
    /// Buttons that send it.
    pub buttons: Vec<Button>,
}

/// A field of a form.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// `text`, `password`, `hidden`, ….
    pub kind: String,
    /// What it holds.
    pub value: String,
}

impl std::fmt::Debug for Field {
    /// Without the value: hidden fields hold tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.kind)
    }
}

/// A button that sends a form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Button {
    /// Name and value that are sent with it; the name may be empty.
    pub name: String,
    /// The value.
    pub value: String,
    /// What people read.
    pub text: String,
}

impl Form {
    /// The field with this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Whether it asks for a password.
    pub fn asks_for_password(&self) -> bool {
        self.fields.iter().any(|field| field.kind == "password")
    }
}

/// Reads a page. Never fails: what is no HTML is text.
pub fn read(html: &str) -> Page {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let mut reader = Reader::default();
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        match token {
            Token::StartTag(tag) => {
                let attributes = tag.attributes.iter();
                let attributes = attributes.map(|(name, value)| (text(name), text(value))).collect();
                reader.open(&Tag { name: text(&tag.name), attributes });
            }
            Token::EndTag(tag) => reader.close(&text(&tag.name)),
            Token::String(string) => reader.read(&text(&string)),
            _ => {}
        }
    }
    reader.finish()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn has(&self, name: &str) -> bool {
        self.attributes.iter().any(|(found, _)| found == name)
    }

    fn get(&self, name: &str) -> String {
        let found = self.attributes.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// As [`Tag::get`], in lower case, or this when it is absent.
    fn keyword(&self, name: &str, default: &str) -> String {
        if self.has(name) { self.get(name).to_ascii_lowercase() } else { default.to_owned() }
    }
}

/// Elements whose text nobody reads.
const UNREAD: [&str; 4] = ["script", "style", "template", "noscript"];

#[derive(Default)]
struct Reader {
    page: Page,
    /// The element, if any, in which nothing is read.
    unread: Option<String>,
    in_title: bool,
    /// Name of the element with `role="alert"`, and how many of that name are open within it.
    alert: Option<(String, usize)>,
    form: Option<Form>,
    button: Option<Button>,
    /// A text area that is open, and what it holds.
    area: Option<Field>,
    /// A list that is open: its name, the value of its chosen option (the first unless another is), whether one is.
    list: Option<(String, Option<String>, bool)>,
}

impl Reader {
    fn open(&mut self, tag: &Tag) {
        if UNREAD.contains(&tag.name.as_str()) {
            self.unread = Some(tag.name.clone());
        }
        match &mut self.alert {
            Some((name, depth)) if *name == tag.name => *depth += 1,
            None if tag.get("role") == "alert" => self.alert = Some((tag.name.clone(), 1)),
            _ => {}
        }
        match tag.name.as_str() {
            "title" => self.in_title = true,
            "a" if tag.has("href") => self.page.links.push(tag.get("href")),
            // A form within a form is no form.
            "form" if self.form.is_none() => {
                let is_post = tag.keyword("method", "get") == "post";
                self.form = Some(Form { action: tag.get("action"), is_post, ..Form::default() });
            }
            "input" if !tag.has("disabled") => self.input(tag),
            "button" if !tag.has("disabled") && tag.keyword("type", "submit") == "submit" => {
                self.button =
                    Some(Button { name: tag.get("name"), value: tag.get("value"), text: String::new() });
            }
            "textarea" if !tag.has("disabled") => {
                self.area =
                    Some(Field { name: tag.get("name"), kind: "textarea".into(), value: String::new() });
            }
            "select" if !tag.has("disabled") => self.list = Some((tag.get("name"), None, false)),
            "option" => {
                if let Some((_, value, chosen)) = &mut self.list
                    && (value.is_none() || (tag.has("selected") && !*chosen))
                {
                    *value = Some(tag.get("value"));
                    *chosen = tag.has("selected");
                }
            }
            _ => {}
        }
    }

    fn input(&mut self, tag: &Tag) {
        let kind = tag.keyword("type", "text");
        let Some(form) = &mut self.form else { return };
        let (name, mut value) = (tag.get("name"), tag.get("value"));
        match kind.as_str() {
            "submit" => form.buttons.push(Button { name, text: value.clone(), value }),
            "button" | "reset" | "image" | "file" => {}
            "checkbox" | "radio" if !tag.has("checked") => {}
            _ if name.is_empty() => {}
            _ => {
                if matches!(kind.as_str(), "checkbox" | "radio") && !tag.has("value") {
                    value = "on".to_owned();
                }
                form.fields.push(Field { name, kind, value });
            }
        }
    }

    fn close(&mut self, name: &str) {
        if self.unread.as_deref() == Some(name) {
            self.unread = None;
        }
        if let Some((alert, depth)) = &mut self.alert
            && alert == name
        {
            *depth -= 1;
            if *depth == 0 {
                self.alert = None;
            }
        }
        match name {
            "title" => self.in_title = false,
            "form" => self.page.forms.extend(self.form.take()),
            "button" => {
                if let (Some(button), Some(form)) = (self.button.take(), &mut self.form) {
                    form.buttons.push(Button { text: folded(&button.text), ..button });
                }
            }
            "textarea" => {
                let area = self.area.take().filter(|area| !area.name.is_empty());
                if let Some(form) = &mut self.form {
                    form.fields.extend(area);
                }
            }
            "select" => {
                if let (Some((name, Some(value), _)), Some(form)) = (self.list.take(), &mut self.form)
                    && !name.is_empty()
                {
                    form.fields.push(Field { name, kind: "select".into(), value });
                }
            }
            _ => {}
        }
    }

    fn read(&mut self, text: &str) {
        if self.unread.is_some() {
            return;
        }
        if self.in_title {
            self.page.title.push_str(text);
            return;
        }
        if let Some(area) = &mut self.area {
            area.value.push_str(text);
            return;
        }
        if let Some(button) = &mut self.button {
            button.text.push_str(text);
        }
        if self.alert.is_some() {
            self.page.alert.push_str(text);
            self.page.alert.push(' ');
        }
        self.page.text.push_str(text);
        self.page.text.push(' ');
    }

    fn finish(mut self) -> Page {
        self.page.forms.extend(self.form.take());
        for text in [&mut self.page.title, &mut self.page.text, &mut self.page.alert] {
            *text = folded(text);
        }
        self.page
    }
}

/// White space folded to single spaces.
fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_a_browser_would_send_it() {
        let page = read(
            r#"<!doctype html><title>Log in
              &amp; more</title><script>"<form action=/evil>"</script>
            <div role=alert><div>Wrong</div> password</div><p>Hello  <b>there</b>
            <form METHOD=Post action="/dex/auth?x=1&amp;y=2">
              <input type=hidden name=req value='a"b'><INPUT name=login><input type=password name=password>
              <input name=off disabled><input type=checkbox name=no><input type=checkbox name=yes checked>
              <select name=pick><option value=1>one<option value=2 selected>two</select>
              <textarea name=note>a &lt; b</textarea><input type=file name=f>
              <button type=button name=js>No</button><button name=approval value=approve>Grant <i>it</i></button>
              <input type=submit value=Go>
            </form><a href="/back">back</a>"#,
        );
        assert_eq!((page.title.as_str(), page.alert.as_str()), ("Log in & more", "Wrong password"));
        assert!(page.text.starts_with("Wrong password Hello there"), "{}", page.text);
        let form = &page.forms[0];
        assert_eq!((form.action.as_str(), form.is_post), ("/dex/auth?x=1&y=2", true));
        let fields: Vec<_> =
            form.fields.iter().map(|field| (field.name.as_str(), field.value.as_str())).collect();
        let expected = [
            ("req", "a\"b"),
            ("login", ""),
            ("password", ""),
            ("yes", "on"),
            ("pick", "2"),
            ("note", "a < b"),
        ];
        assert_eq!(fields, expected);
        assert!(form.asks_for_password());
        let buttons: Vec<_> =
            form.buttons.iter().map(|button| (button.value.as_str(), button.text.as_str())).collect();
        assert_eq!(buttons, [("approve", "Grant it"), ("Go", "Go")]);
        assert_eq!((page.forms.len(), page.links), (1, vec!["/back".to_owned()]));
    }

    #[test]
    fn what_is_no_page_has_no_forms() {
        for text in ["", "<", "<form", "{\"code\": 1}", "<form><form></form>"] {
            assert!(read(text).forms.len() <= 1, "{text}");
        }
        assert_eq!(read("<form action=/a>").forms[0].action, "/a", "an open form ends with the page");
    }
}
