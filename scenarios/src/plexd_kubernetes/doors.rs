//! The doors of an agent's pod: its probes, as a kubelet asks them, and its local API, as another process of the pod does.

use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Config;
use kube::api::Api;
use plexlab_harness::run::Failure;
use plexlab_lab::{Check, eventually};

use super::ground::{Ground, WITHIN};
use super::ways::Ways;

/// The port of the agent's probes.
const PROBES: u16 = 9101;
/// How long one answer may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// What an API server says in the place of a pod that does not listen.
const NOBODY: &str = "rror trying to reach service";

/// Status and body of an answer.
type Answer = (u16, String);

/// The clients that knock.
pub struct Doors {
    http: reqwest::Client,
    /// At the API server. One that asks again after a 503 would never tell of one.
    asks_once: kube::Client,
}

impl Doors {
    /// At this cluster.
    ///
    /// # Errors
    /// When a client cannot be made.
    pub fn of(config: &Config) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWERS_WITHIN);
        // A kept connection may lead to an agent that is gone.
        let http = http.pool_max_idle_per_host(0).build()?;
        let mut config = config.clone();
        config.default_retry = false;
        Ok(Self { http, asks_once: kube::Client::try_from(config)? })
    }
}

impl Ground {
    /// Asks for a path of the agent's probes until the status is as wanted; the body.
    ///
    /// # Errors
    /// With the last answer.
    pub async fn probe(
        &self,
        namespace: &str,
        pod: &str,
        path: &str,
        wanted: u16,
    ) -> Result<String, Failure> {
        // A container takes longer to start than a process.
        let within = if let Ways::Direct = self.ways { WITHIN / 2 } else { WITHIN };
        let found = eventually(format!("{wanted} of {path} at port {PROBES}"), within, || async {
            match self.probed(namespace, pod, path).await {
                Ok((status, body)) if status == wanted => Check::Done(body),
                Ok((status, body)) => Check::NotYet(format!("{status} {body}")),
                Err(failure) => Check::NotYet(failure.seen),
            }
        });
        Ok(found.await?)
    }

    async fn probed(&self, namespace: &str, pod: &str, path: &str) -> Result<Answer, Failure> {
        let place = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
        if let Ways::Direct = self.ways {
            let pod = self.find(&place).await?.unwrap_or_default();
            let address = pod["status"]["podIP"].as_str().unwrap_or_default();
            let answer = self.doors.http.get(format!("http://{address}:{PROBES}{path}")).send().await?;
            let status = answer.status().as_u16();
            return Ok((status, answer.text().await.unwrap_or_default()));
        }
        // At the pod's address, from the control plane's node: as near to a kubelet as one gets from here.
        let request =
            Request::get(format!("{place}:{PROBES}/proxy{path}")).body(kube::client::Body::empty())?;
        // The API server waits longer for a pod that is not there yet than this waits for an answer.
        let asked = async {
            let (head, body) = self.doors.asks_once.send(request).await?.into_parts();
            Ok::<_, Failure>((head, text(body.collect().await?.to_bytes())))
        };
        let asked = tokio::time::timeout(ANSWERS_WITHIN, asked).await;
        let (head, body) = asked
            .map_err(|_| Failure::expected(format!("an answer within {ANSWERS_WITHIN:?}"), "none"))??;
        if head.status.is_server_error() && body.contains(NOBODY) {
            return Err(Failure::expected("an answer", body));
        }
        Ok((head.status.as_u16(), body))
    }

    /// Asks what listens at a port of the pod's own loopback.
    ///
    /// # Errors
    /// When nobody answers in time.
    pub async fn ask_local(
        &self,
        (namespace, pod): (&str, &str),
        (port, path): (u16, &str),
        token: Option<&str>,
    ) -> Result<Answer, Failure> {
        if let Ways::Direct = self.ways {
            let request = self.doors.http.get(format!("http://127.0.0.1:{port}{path}"));
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let answer = request.send().await?;
            let status = answer.status().as_u16();
            return Ok((status, answer.text().await.unwrap_or_default()));
        }
        let asked = async {
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let mut forwarder = pods.portforward(pod, &[port]).await?;
            let stream = forwarder.take_stream(port);
            let stream = stream.ok_or_else(|| Failure::expected("a stream to the pod", "none"))?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            let request = Request::get(path).header("host", format!("127.0.0.1:{port}"));
            let request = match token {
                Some(token) => request.header("authorization", format!("Bearer {token}")),
                None => request,
            };
            let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
            let (head, body) = answer.into_parts();
            Ok((head.status.as_u16(), text(body.collect().await?.to_bytes())))
        };
        match tokio::time::timeout(ANSWERS_WITHIN, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::expected(format!("an answer within {ANSWERS_WITHIN:?}"), "none")),
        }
    }
}

fn text(bytes: Bytes) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
