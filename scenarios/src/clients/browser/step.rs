//! What a person does on a page. Pure.

use secrecy::{ExposeSecret, SecretString};

use super::page::{Button, Form, Page};

/// Words on buttons and in fields that mean yes, in the order of how clearly they do.
const YES: [&str; 8] = ["approve", "allow", "grant", "accept", "authorize", "confirm", "yes", "continue"];
/// Words that mean no.
const NO: [&str; 9] =
    ["deny", "denied", "reject", "rejected", "cancel", "decline", "no", "sign out", "log out"];

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Fill in and send a form.
    Send {
        /// Index of the form.
        form: usize,
        /// Index of the button, if it has any.
        button: Option<usize>,
        /// What is done with it.
        why: Why,
    },
    /// Follow a link.
    Follow(String),
    /// Nothing is left to do.
    Done,
}

/// What sending a form means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Signs in.
    SignIn,
    /// Says yes.
    Approve,
    /// Confirms a code that the page holds already.
    Code,
    /// Goes on: the form asks for nothing.
    GoOn,
}

/// What to do on this page.
pub fn next(page: &Page) -> Step {
    let send = |(form, why)| {
        let found: &Form = &page.forms[form];
        Step::Send { form, button: button(found), why }
    };
    let forms = || page.forms.iter().enumerate();
    let sign_in = forms().find(|(_, form)| form.asks_for_password());
    let approval = || forms().find(|(_, form)| says(form, &YES[..7]) && !refuses(form));
    let code = || forms().find(|(_, form)| code(form).is_some_and(|value| !value.is_empty()));
    let plain = || forms().find(|(_, form)| form.is_post && !refuses(form) && asks_for_nothing(form));
    let chosen = sign_in
        .map(|(index, _)| (index, Why::SignIn))
        .or_else(|| code().map(|(index, _)| (index, Why::Code)))
        .or_else(|| approval().map(|(index, _)| (index, Why::Approve)))
        .or_else(|| plain().map(|(index, _)| (index, Why::GoOn)));
    match chosen {
        Some(chosen) => send(chosen),
        // Dex's choice of a connector: the local accounts are the one that takes a password.
        None => match page.links.iter().find(|link| link.contains("/auth/local")) {
            Some(link) => Step::Follow(link.clone()),
            None => Step::Done,
        },
    }
}

/// What a form sends, with this button.
pub fn filled(
    form: &Form,
    button: Option<usize>,
    login: &str,
    password: &SecretString,
) -> Vec<(String, String)> {
    let name = login_field(form);
    let mut sent: Vec<_> = form
        .fields
        .iter()
        .map(|field| {
            let value = match field.kind.as_str() {
                "password" => password.expose_secret(),
                _ if name.is_some_and(|name| name == field.name) => login,
                _ => &field.value,
            };
            (field.name.clone(), value.to_owned())
        })
        .collect();
    let pressed = button.and_then(|index| form.buttons.get(index)).filter(|button| !button.name.is_empty());
    sent.extend(pressed.map(|button| (button.name.clone(), button.value.clone())));
    sent
}

/// The field for the name: Dex's `login`, else the last one that can be typed into before the password.
fn login_field(form: &Form) -> Option<&str> {
    if !form.asks_for_password() {
        return None;
    }
    let before = form.fields.iter().take_while(|field| field.kind != "password");
    let typed = before.filter(|field| matches!(field.kind.as_str(), "text" | "email")).last();
    form.field("login").or(typed).map(|field| field.name.as_str())
}

/// The code that a form for device codes holds.
fn code(form: &Form) -> Option<&str> {
    form.field("user_code").filter(|field| field.kind != "hidden").map(|field| field.value.as_str())
}

/// The button to press: the one that says yes most clearly, else the first that does not say no.
fn button(form: &Form) -> Option<usize> {
    let all = || form.buttons.iter().enumerate();
    let yes = YES.iter().find_map(|word| all().find(|(_, button)| button_says(button, word)));
    let other = || all().find(|(_, button)| !NO.iter().any(|word| button_says(button, word)));
    yes.or_else(other).map(|(index, _)| index)
}

fn button_says(button: &Button, word: &str) -> bool {
    says_word(&button.value, word) || says_word(&button.text, word)
}

fn says(form: &Form, words: &[&str]) -> bool {
    let hidden = form.fields.iter().filter(|field| field.kind == "hidden");
    let values = hidden.map(|field| field.value.as_str()).collect::<Vec<_>>();
    words
        .iter()
        .any(|word| values.contains(word) || form.buttons.iter().any(|button| button_says(button, word)))
}

/// Whether sending the form can only mean no.
fn refuses(form: &Form) -> bool {
    let hidden_no =
        form.fields.iter().any(|field| field.kind == "hidden" && NO.contains(&field.value.as_str()));
    let only_no = !form.buttons.is_empty()
        && form.buttons.iter().all(|button| NO.iter().any(|word| button_says(button, word)));
    hidden_no || only_no
}

fn asks_for_nothing(form: &Form) -> bool {
    form.fields.iter().all(|field| field.kind == "hidden")
}

/// Whether a text has this word (or these words), letter case aside.
fn says_word(text: &str, word: &str) -> bool {
    let lower = text.to_lowercase();
    let words: Vec<_> =
        lower.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let wanted: Vec<_> = word.split(' ').collect();
    words.windows(wanted.len()).any(|window| window == wanted.as_slice())
}

#[cfg(test)]
mod tests {
    use super::super::page::read;
    use super::*;

    fn step(html: &str) -> (Step, Vec<(String, String)>) {
        let page = read(html);
        let step = next(&page);
        let sent = match &step {
            Step::Send { form, button, .. } => {
                filled(&page.forms[*form], *button, "me@example.com", &SecretString::from("pw"))
            }
            _ => Vec::new(),
        };
        (step, sent)
    }

    fn why(html: &str) -> Option<Why> {
        match step(html).0 {
            Step::Send { why, .. } => Some(why),
            _ => None,
        }
    }

    fn sent(html: &str) -> Vec<(String, String)> {
        step(html).1
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_sign_in_form_is_filled_in() {
        let dex = "<form method=post><input name=login type=text><input name=password type=password>
                   <button type=submit>Login</button></form>";
        assert_eq!(why(dex), Some(Why::SignIn));
        assert_eq!(sent(dex), pairs(&[("login", "me@example.com"), ("password", "pw")]));
        let other = "<form method=post><input type=hidden name=t value=1><input name=email type=email>
                     <input name=secret type=password></form>";
        assert_eq!(sent(other), pairs(&[("t", "1"), ("email", "me@example.com"), ("secret", "pw")]));
    }

    #[test]
    fn yes_is_said_and_never_no() {
        let two_buttons = "<form method=post><input type=hidden name=csrf value=x>
            <button name=approval value=deny>Deny</button><button name=approval value=approve>Allow</button></form>";
        assert_eq!(why(two_buttons), Some(Why::Approve));
        assert_eq!(sent(two_buttons), pairs(&[("csrf", "x"), ("approval", "approve")]));
        let dex = "<form method=post><input type=hidden name=approval value=rejected><button>Cancel</button></form>
                   <form method=post><input type=hidden name=approval value=approve><button>Grant Access</button></form>";
        assert_eq!(sent(dex), pairs(&[("approval", "approve")]));
        let only_no = "<form method=post action=/sign-out><button>Sign out</button></form>";
        assert_eq!(step(only_no).0, Step::Done);
    }

    #[test]
    fn a_code_that_is_there_is_confirmed_and_one_that_is_not_is_left() {
        let code = |value: &str| {
            format!("<form method=post><input name=user_code value='{value}'><button>Submit</button></form>")
        };
        assert_eq!(why(&code("ABCD-EFGH")), Some(Why::Code));
        assert_eq!(step(&code("")).0, Step::Done);
    }

    #[test]
    fn a_form_that_asks_for_nothing_leads_on_and_searching_is_left_alone() {
        assert_eq!(why("<form method=post action=/sign-in><button>Sign in</button></form>"), Some(Why::GoOn));
        assert_eq!(step("<form action=/search><input name=q><button>Search</button></form>").0, Step::Done);
        assert_eq!(
            step("<a href='/x'>x</a><a href='/dex/auth/local?a=b'>").0,
            Step::Follow("/dex/auth/local?a=b".into())
        );
        assert_eq!(step("<p>Approved. You can close this page.").0, Step::Done);
    }
}
