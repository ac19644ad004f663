//! The scripted sign-in of scenarios and tutorials, at the identity provider's own pages.

use std::collections::BTreeMap;

use plexlab_idp::password::Hashing;
use plexlab_idp::{Client, Config, Handle, serve};
use plexlab_lab::tls::install_provider;
use plexlab_scenarios::clients::browser::{BrowserError, Person};
use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

const CALLBACK: &str = "http://127.0.0.1:9/callback";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn provider(path: &str) -> Handle {
    install_provider();
    let config = Config { hashing: Hashing::Cheap, ..Config::new().client(Client::public("app", CALLBACK)) };
    if path.is_empty() {
        return serve(config).await.unwrap();
    }
    // The issuer is known once the port is: take one, give it back, take it again.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let issuer = Some(Url::parse(&format!("http://{port}{path}")).unwrap());
    serve(Config { address: port, issuer, ..config }).await.unwrap()
}

fn person(login: &str, password: &str) -> Person {
    Person::new(login, SecretString::from(password)).unwrap()
}

async fn post(url: &str, form: &[(&str, &str)]) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.post(url).form(form).send().await.unwrap().json().await.unwrap()
}

async fn begin(idp: &Handle) -> (Url, String) {
    let url = format!("{}/device/code", idp.issuer());
    let begun = post(&url, &[("client_id", "app"), ("scope", "openid email")]).await;
    let code = begun["device_code"].as_str().unwrap().to_owned();
    (Url::parse(begun["verification_uri_complete"].as_str().unwrap()).unwrap(), code)
}

async fn redeem(idp: &Handle, code: &str) -> Value {
    let form = [("grant_type", GRANT), ("client_id", "app"), ("device_code", code)];
    post(&format!("{}/token", idp.issuer()), &form).await
}

#[tokio::test]
async fn a_device_is_approved_without_a_browser() {
    for path in ["", "/dex"] {
        let idp = provider(path).await;
        let (url, code) = begin(&idp).await;
        let arrived = person("admin@example.com", "password").visit(&url).await.unwrap();
        assert!(
            arrived.signed_in && arrived.approved && arrived.text.contains("Device allowed"),
            "{arrived:?}"
        );
        assert!(redeem(&idp, &code).await["access_token"].is_string());
    }
}

#[tokio::test]
async fn an_authorization_ends_at_the_redirect_uri_that_nobody_serves() {
    let idp = provider("").await;
    let parameters = [
        ("client_id", "app"),
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid"),
        ("state", "s"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ];
    let url = Url::parse_with_params(&format!("{}/auth", idp.issuer()), parameters).unwrap();
    let somebody = person("operator@example.com", "password");
    let arrived = somebody.visit_until(&url, &Url::parse(CALLBACK).unwrap()).await.unwrap();
    let query: BTreeMap<_, _> = arrived.url.query_pairs().collect();
    assert!(query.contains_key("code") && query["state"] == "s" && arrived.signed_in);
}

#[tokio::test]
async fn what_goes_wrong_is_said_without_the_password_and_the_code() {
    let idp = provider("").await;
    let (url, code) = begin(&idp).await;
    let error = person("admin@example.com", "hunter2").visit(&url).await.unwrap_err();
    assert!(matches!(error, BrowserError::Password { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("admin@example.com") && text.contains("is wrong"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("user_code"), "{text}");
    assert_eq!(redeem(&idp, &code).await["error"], "authorization_pending");

    let bad = Url::parse(&format!("{}/auth?client_id=nobody", idp.issuer())).unwrap();
    let error = person("admin@example.com", "password").visit(&bad).await.unwrap_err();
    assert!(matches!(&error, BrowserError::Refused { status: StatusCode::BAD_REQUEST, .. }), "{error:?}");
    assert!(error.to_string().contains("not registered"), "{error}");

    let address = idp.url();
    idp.stop().await;
    let error =
        person("admin@example.com", "password").visit(&Url::parse(&address).unwrap()).await.unwrap_err();
    assert!(matches!(error, BrowserError::Transport { .. }), "{error:?}");
}
