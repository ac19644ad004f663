//! A person with a browser of their own: cookies, redirects, forms.

use std::collections::BTreeMap;
use std::fmt;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HOST, LOCATION, ORIGIN};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, StatusCode};
use secrecy::SecretString;
use url::Url;

use super::page::{Page, read};
use super::step::{Step, Why, filled, next};

/// Pages and redirects on one way, at most. A sign-in with a device code takes about ten.
const LONGEST_WAY: usize = 40;
/// Longest text of a page that is quoted in an error, in letters.
const QUOTED: usize = 300;

/// The way ended badly.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// The client could not be made.
    #[error("make the browser: {0}")]
    Client(reqwest::Error),
    /// A server did not answer.
    #[error("open {url}: {source}")]
    Transport {
        /// Without its query, which may hold codes.
        url: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// A link or redirect that leads nowhere.
    #[error("{from} leads to {to}, which is no http address")]
    Address {
        /// The page.
        from: String,
        /// Where it leads.
        to: String,
    },
    /// An answer that says no.
    #[error("{url} answered {status}: {text}")]
    Refused {
        /// Without its query.
        url: String,
        /// Status.
        status: StatusCode,
        /// What the page says.
        text: String,
    },
    /// The sign-in form came back.
    #[error("{url} did not take the password of {login}: {text}")]
    Password {
        /// Without its query.
        url: String,
        /// Who.
        login: String,
        /// What the page says.
        text: String,
    },
    /// The way does not end.
    #[error("after {LONGEST_WAY} pages and redirects the way still goes on, at {url}")]
    Endless {
        /// Without its query.
        url: String,
    },
}

/// Where the way ended: a page with nothing left to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The address, or the redirect at which the way was to stop.
    pub url: Url,
    /// Title of the page; empty when the way was stopped.
    pub title: String,
    /// Its text.
    pub text: String,
    /// Whether a password was asked for on the way.
    pub signed_in: bool,
    /// Whether something was approved on the way.
    pub approved: bool,
}

/// Somebody with a browser. Cookies last as long as this value.
pub struct Person {
    http: reqwest::Client,
    login: String,
    password: SecretString,
    detours: BTreeMap<String, String>,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person").field("login", &self.login).finish_non_exhaustive()
    }
}

impl Person {
    /// Somebody with a new browser.
    ///
    /// # Errors
    /// [`BrowserError::Client`] when the client cannot be made.
    pub fn new(login: &str, password: SecretString) -> Result<Self, BrowserError> {
        let builder = reqwest::Client::builder().no_proxy().cookie_store(true).redirect(Policy::none());
        let http = builder.build().map_err(BrowserError::Client)?;
        Ok(Self { http, login: login.to_owned(), password, detours: BTreeMap::new() })
    }

    /// With other ways to some servers, both `host:port`: as if names were resolved so.
    pub fn with_detours(self, detours: &BTreeMap<String, String>) -> Self {
        Self { detours: detours.clone(), ..self }
    }

    /// Where a page is really asked for, and the `Host` that is asked for there.
    fn way(&self, url: &Url) -> (Url, Option<String>) {
        let authority = url.authority().to_owned();
        let detour = self.detours.get(&authority).and_then(|to| format!("http://{to}").parse::<Url>().ok());
        let Some(to) = detour else { return (url.clone(), None) };
        let mut there = url.clone();
        if there.set_host(to.host_str()).is_err() || there.set_port(to.port()).is_err() {
            return (url.clone(), None);
        }
        (there, Some(authority))
    }

    /// Opens an address, for example a verification URL of a device code, and does what its pages ask for: signs
    /// in, says yes, goes on. Returns where that ends.
    ///
    /// # Errors
    /// [`BrowserError`] when a page refuses or the way does not end.
    pub async fn visit(&self, url: &Url) -> Result<Arrived, BrowserError> {
        self.walk(url, None).await
    }

    /// As [`Person::visit`], but stops at a redirect to `stop` (compared without the query) and returns it, query
    /// included, without asking for it: for clients whose redirect URI nobody serves.
    ///
    /// # Errors
    /// As [`Person::visit`].
    pub async fn visit_until(&self, url: &Url, stop: &Url) -> Result<Arrived, BrowserError> {
        self.walk(url, Some(stop)).await
    }

    async fn walk(&self, url: &Url, stop: Option<&Url>) -> Result<Arrived, BrowserError> {
        let mut request = Request::get(url.clone());
        let (mut signed_in, mut approved) = (false, false);
        for _ in 0..LONGEST_WAY {
            let here = request.url.clone();
            let answer = self.send(&request).await?;
            if let Some(target) = redirect(&answer) {
                let to = address(&here, &target)?;
                if stop.is_some_and(|stop| bare(stop) == bare(&to)) {
                    let (title, text) = (String::new(), String::new());
                    return Ok(Arrived { url: to, title, text, signed_in, approved });
                }
                request = request.redirected(answer.status(), to);
                continue;
            }
            let status = answer.status();
            let body = answer.text().await.map_err(|source| transport(&here, source))?;
            let page = read(&body);
            let step = next(&page);
            let asks_again = signed_in && matches!(step, Step::Send { why: Why::SignIn, .. });
            if asks_again {
                return Err(BrowserError::Password {
                    url: bare(&here),
                    login: self.login.clone(),
                    text: words(&page),
                });
            }
            if status.is_client_error() || status.is_server_error() {
                return Err(BrowserError::Refused { url: bare(&here), status, text: words(&page) });
            }
            request = match step {
                Step::Done => {
                    return Ok(Arrived {
                        url: here,
                        title: page.title,
                        text: page.text,
                        signed_in,
                        approved,
                    });
                }
                Step::Follow(link) => Request::get(address(&here, &link)?).from(&here),
                Step::Send { form, button, why } => {
                    signed_in |= why == Why::SignIn;
                    approved |= why == Why::Approve;
                    self.filled(&here, &page, form, button)?
                }
            };
        }
        Err(BrowserError::Endless { url: bare(&request.url) })
    }

    fn filled(
        &self,
        here: &Url,
        page: &Page,
        form: usize,
        button: Option<usize>,
    ) -> Result<Request, BrowserError> {
        let form = &page.forms[form];
        let mut target = if form.action.is_empty() { here.clone() } else { address(here, &form.action)? };
        let sent = filled(form, button, &self.login, &self.password);
        if form.is_post {
            return Ok(Request { method: Method::POST, url: target, form: sent, from: Some(here.clone()) });
        }
        target.query_pairs_mut().clear().extend_pairs(sent);
        Ok(Request::get(target).from(here))
    }

    /// With the headers by which servers tell a person's browser from another site's script.
    async fn send(&self, request: &Request) -> Result<Response, BrowserError> {
        let site = match &request.from {
            None => "none",
            Some(from) if from.origin() == request.url.origin() => "same-origin",
            Some(from) if from.host() == request.url.host() && from.scheme() == request.url.scheme() => {
                "same-site"
            }
            Some(_) => "cross-site",
        };
        let (url, host) = self.way(&request.url);
        let mut sending = self
            .http
            .request(request.method.clone(), url)
            .header(ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("Sec-Fetch-Site", site)
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Dest", "document");
        if let Some(host) = host {
            sending = sending.header(HOST, host);
        }
        if request.method == Method::POST {
            let mut body = url::form_urlencoded::Serializer::new(String::new());
            let body = body.extend_pairs(&request.form).finish();
            sending = sending.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
            if let Some(from) = &request.from {
                sending = sending.header(ORIGIN, from.origin().ascii_serialization());
            }
        }
        sending.send().await.map_err(|source| transport(&request.url, source))
    }
}

struct Request {
    method: Method,
    url: Url,
    form: Vec<(String, String)>,
    /// The page that it comes from.
    from: Option<Url>,
}

impl Request {
    fn get(url: Url) -> Self {
        Self { method: Method::GET, url, form: Vec::new(), from: None }
    }

    fn from(self, page: &Url) -> Self {
        Self { from: Some(page.clone()), ..self }
    }

    /// 307 and 308 repeat the request, all others ask for the new address.
    fn redirected(self, status: StatusCode, to: Url) -> Self {
        let repeated = matches!(status.as_u16(), 307 | 308);
        if repeated { Self { url: to, ..self } } else { Self { from: self.from, ..Self::get(to) } }
    }
}

fn redirect(answer: &Response) -> Option<String> {
    let location = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection())?;
    location.to_str().ok().map(str::to_owned)
}

fn address(from: &Url, to: &str) -> Result<Url, BrowserError> {
    let found = from.join(to).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    found.ok_or_else(|| BrowserError::Address { from: bare(from), to: to.to_owned() })
}

/// Without query and fragment, which may hold codes.
fn bare(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

fn transport(url: &Url, source: reqwest::Error) -> BrowserError {
    BrowserError::Transport { url: bare(url), source: source.without_url() }
}

/// The problem that a page announces, else the beginning of its text.
fn words(page: &Page) -> String {
    let text = if page.alert.is_empty() { &page.text } else { &page.alert };
    text.chars().take(QUOTED).collect()
}
