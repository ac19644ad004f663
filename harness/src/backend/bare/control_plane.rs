//! One control plane as a process of its own, which can be killed and started again at its address.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use plexlab_lab::{Check, eventually};
use secrecy::{ExposeSecret as _, SecretString};

use super::{BareError, BareSpec, WITHIN, system};
use crate::backend::containers::own_program;
use crate::backend::supervised::{CommandLine, Supervised};

/// The variable without which the control plane refuses a planted defect.
const DEFECTS_ALLOWED: &str = "PLEXLAB_PLANT_DEFECTS";

/// A control plane.
#[derive(Debug)]
pub(super) struct ControlPlane {
    /// Its number: the first is 0.
    number: usize,
    running: Option<Supervised>,
    pub(super) address: SocketAddr,
}

impl ControlPlane {
    /// One that does not run yet.
    pub(super) fn numbered(number: usize, address: SocketAddr) -> Self {
        Self { number, running: None, address }
    }

    /// By what people know it, and its files.
    pub(super) fn name(&self) -> String {
        match self.number {
            0 => "control-plane".to_owned(),
            number => format!("control-plane-{number}"),
        }
    }

    pub(super) fn log(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.log", self.name()))
    }

    fn address_file(&self, dir: &Path) -> PathBuf {
        match self.number {
            0 => dir.join("address"),
            number => dir.join(format!("address-{number}")),
        }
    }

    /// Kills it as `kill -9` does; the kernel breaks its connections.
    pub(super) async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            // Waits for the process's end, which a thread of the runtime must not.
            let _ = tokio::task::spawn_blocking(move || drop(running)).await;
        }
    }

    /// Starts it at the address that it had, and waits until it answers.
    pub(super) async fn start(
        &mut self,
        dir: &Path,
        spec: &BareSpec,
        dsn: &SecretString,
        http: &reqwest::Client,
    ) -> Result<(), BareError> {
        let file = self.address_file(dir);
        let mut program = own_program().into_iter();
        let executable = program.next().map(PathBuf::from).unwrap_or_default();
        let listen = self.address.to_string();
        let catalog = if spec.catalog { "true" } else { "false" };
        let mut arguments: Vec<OsString> = program.collect();
        arguments
            .extend(["control-plane", "--listen", &listen, "--seed-catalog", catalog].map(OsString::from));
        for (name, path) in [
            ("--owner-token-file", dir.join("owner")),
            ("--operator-token-file", dir.join("operator")),
            ("--address-file", file.clone()),
        ] {
            arguments.extend([name.into(), path.into_os_string()]);
        }
        if spec.connections > 0 {
            arguments.extend(["--connections".into(), spec.connections.to_string().into()]);
        }
        if let Some(brokers) = &spec.brokers {
            arguments.extend(["--broker".into(), "--kubeconfig".into(), brokers.kubeconfig.clone().into()]);
            arguments.extend(["--broker-period".into(), brokers.period.as_millis().to_string().into()]);
            arguments.extend(["--closed-gates".into(), brokers.closed_gates.join(",").into()]);
        }
        let mut environment = vec![("DATABASE_URL", OsString::from(dsn.expose_secret()))];
        if let Some(defect) = &spec.planted_defect {
            arguments.extend(["--planted-defect".into(), defect.into()]);
            environment.push((DEFECTS_ALLOWED, "yes".into()));
        }
        let _ = std::fs::remove_file(&file);
        let command = CommandLine {
            name: "control-plane",
            program: executable,
            arguments,
            environment,
            log: self.log(dir),
        };
        self.running = Some(Supervised::start(command).map_err(system("start the control plane"))?);
        self.address = self.answering(dir, http).await?;
        Ok(())
    }

    /// Waits until it answers, if it runs; where it does.
    pub(super) async fn answering(
        &self,
        dir: &Path,
        http: &reqwest::Client,
    ) -> Result<SocketAddr, BareError> {
        let Some(running) = &self.running else { return Ok(self.address) };
        let file = self.address_file(dir);
        let answering = eventually("the control plane to be healthy", WITHIN, || async {
            if let Some(ended) = running.ended() {
                return Check::Done(Err(ended));
            }
            let address = std::fs::read_to_string(&file).ok();
            let Some(address) = address.and_then(|text| text.trim().parse::<SocketAddr>().ok()) else {
                return Check::NotYet("it has no address".to_owned());
            };
            match http.get(format!("http://{address}/v1/health")).send().await {
                Ok(answer) if answer.status().is_success() => Check::Done(Ok(address)),
                Ok(answer) => Check::NotYet(format!("status {}", answer.status())),
                Err(error) => Check::NotYet(error.to_string()),
            }
        });
        match answering.await {
            Ok(outcome) => outcome.map_err(BareError::ControlPlane),
            Err(late) => Err(BareError::ControlPlane(format!("{late}; {}", running.last_words()))),
        }
    }
}
