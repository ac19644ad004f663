//! The envtest backend: a real kube-apiserver and etcd, with plexlab's own controllers and kubelet beside them.
//!
//! The programs come from the directory that `KUBEBUILDER_ASSETS` names, as for controller-runtime's envtest. They are
//! children that end with this process, listen on the stack's own loopback addresses, and keep everything in its
//! directory.
//!
//! A real kube-apiserver takes a loopback range for Services (checked with v1.36.2), and pods with loopback addresses,
//! but no loopback addresses in Endpoints and EndpointSlices of IP type. So the slices of this backend have the address
//! type FQDN: the dotted address is a host name that every resolver resolves to itself, so a slice says exactly where
//! the pod answers, and whatever reads slices goes on working, the kubelet's forwarder first of all. The deprecated
//! Endpoints objects cannot say it and are not made. Addresses outside of 127.0.0.0/8 would need changes to the
//! machine's network, which would need root and outlive a killed process.

pub mod assets;
mod certificates;
pub mod cluster;
pub mod download;
mod readyz;
pub mod real_kube;
