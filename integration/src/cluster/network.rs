//! The wire: one bridge in the host's namespace, a cable to each node, routes to each node's pods.
//!
//! Every link is made inside the namespaces, so the machine's own list of links never changes.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::name::{self, ClusterName, HOST, HOST_ADDRESS};
use crate::process;

/// Makes the namespaces of a cluster and connects them.
pub(crate) async fn create(cluster: &ClusterName, nodes: usize) -> Result<()> {
    let host = cluster.namespace(HOST);
    let mut outer = format!("netns add {host}\n");
    let mut inner = format!(
        "link set lo up\n\
         link add br0 type bridge forward_delay 0 stp_state 0\n\
         addr add {HOST_ADDRESS}/24 dev br0\n\
         link set br0 up\n"
    );
    for number in 1..=nodes {
        let node = name::node(number);
        let namespace = cluster.namespace(&node);
        writeln!(outer, "netns add {namespace}")?;
        writeln!(
            outer,
            "link add name {node} netns {host} type veth peer name eth0 netns {namespace}"
        )?;
        writeln!(inner, "link set {node} master br0")?;
        writeln!(inner, "link set {node} up")?;
    }
    for number in 1..=nodes {
        writeln!(inner, "{}", route(number))?;
    }
    batch(None, &outer).await?;
    batch(Some(&host), &inner).await?;
    for number in 1..=nodes {
        let mut own = format!(
            "link set lo up\n\
             addr add {}/24 dev eth0\n\
             link set eth0 up\n\
             route add default via {HOST_ADDRESS}\n",
            name::node_address(number)
        );
        for other in (1..=nodes).filter(|other| *other != number) {
            writeln!(own, "{}", route(other))?;
        }
        batch(Some(&cluster.namespace(&name::node(number))), &own).await?;
    }
    Ok(())
}

/// The way to a node's pods.
fn route(node: usize) -> String {
    format!(
        "route add {} via {}",
        name::pod_range(node),
        name::node_address(node)
    )
}

/// Feeds lines to `ip`, in a namespace or outside all.
async fn batch(namespace: Option<&str>, lines: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    process::feed(command.args(["-batch", "-"]), lines)
        .await
        .map(drop)
        .with_context(|| format!("connecting {}", namespace.unwrap_or("the namespaces")))
}
