//! Tests of the whole: the command line as a user meets it, and the rules of the workspace.

mod agent_manifests;
mod attach;
mod bench;
mod canaries;
mod cli;
mod clouds;
mod conformance;
mod docker;
mod dry_run;
mod elsewhere;
mod envtest;
mod fork;
mod helm;
mod killed;
mod kind;
mod kube_serve;
mod lab;
mod race;
mod race_live;
mod repro;
mod run;
mod secrets;
mod sign_in;
mod stack;
mod tidy;
mod tutorial;
