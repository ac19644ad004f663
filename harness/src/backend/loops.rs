//! The control loops of this process: controllers and kubelet beside an API server, whichever that is.

use std::time::Duration;

use kube::Client;
use plexlab_apiserver::{StaticUser, UnknownUser};

/// The controllers' user: the loops are told apart from people in requests and audit logs.
pub(super) const CONTROLLERS: &str = "system:kube-controller-manager";
/// The kubelet's user.
pub(super) const KUBELET: &str = "system:kubelet";

/// How long a node may be silent. Its kubelet is in this very process, so silence means a starved machine, not a
/// lost node: far longer than any starvation seen with 50 agents starting at once.
const NODE_SILENCE: Duration = Duration::from_secs(300);

/// The loops' users, for an API server that is to know them.
pub(super) fn loop_users() -> [StaticUser; 2] {
    [CONTROLLERS, KUBELET].map(|user| StaticUser::new(user, ["system:masters"]))
}

/// How controllers are started here.
pub(super) fn controllers_of(ca_pem: &str) -> plexlab_controllers::Config {
    plexlab_controllers::Config {
        root_ca_pem: Some(ca_pem.to_owned()),
        node_monitor_grace: Some(NODE_SILENCE),
        ..plexlab_controllers::Config::local()
    }
}

/// A client of the API without connections: the control loops of this process have some sixty watches between them,
/// each of which would be a TLS connection with its buffers on both sides.
///
/// # Errors
/// When the server does not know the user.
pub(super) fn in_process(server: &plexlab_apiserver::Handle, user: &str) -> Result<Client, UnknownUser> {
    let service = server.in_process(user)?;
    let to_server = |request: http::Request<kube::client::Body>| request.map(axum::body::Body::new);
    Ok(Client::new(tower::ServiceBuilder::new().map_request(to_server).service(service), "default"))
}

/// The loops that run.
pub(super) struct Loops {
    pub(super) controllers: Option<plexlab_controllers::Handle>,
    pub(super) kubelet: Option<plexlab_kubelet::Handle>,
}

impl Loops {
    /// The process ids of all containers.
    pub(super) fn processes(&self) -> Vec<i32> {
        let kubelet = self.kubelet.iter();
        kubelet.flat_map(plexlab_kubelet::Handle::processes).map(|process| process.pid).collect()
    }

    /// Stops them in order: no new pods, then the pods. The API comes after them.
    pub(super) async fn stop(self) {
        if let Some(controllers) = self.controllers {
            controllers.stop().await;
        }
        if let Some(kubelet) = self.kubelet {
            kubelet.stop().await;
        }
    }
}
