//! The wire: one bridge in the host's namespace, a cable to each node, routes to each node's pods.
//!
//! Every link is made inside the namespaces, so the machine's own list of links never changes. A cable can be made
//! longer, in time.

use std::{fmt::Write as _, path::Path, process::Stdio};

use anyhow::{Context, Result};
use tokio::process::Command;

use super::name::{self, ClusterName, HOST, HOST_ADDRESS};
use crate::process::{self, Identity};

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

/// Puts a program that passes frames on after a while between a node's cable and the bridge.
///
/// It works in a namespace of its own, where no address is: there the kernel itself answers nothing.
pub(crate) async fn lengthen(
    cluster: &ClusterName,
    node: &str,
    milliseconds: u32,
    program: &Path,
    log: &Path,
) -> Result<()> {
    shorten(cluster, node).await?;
    let (host, between) = (cluster.namespace(HOST), cluster.namespace(&between(node)));
    batch(None, &format!("netns add {between}\n")).await?;
    batch(
        Some(&host),
        &format!(
            "link set {node} netns {between}\n\
             link add name {node} type veth peer name far netns {between}\n\
             link set {node} master br0\n\
             link set {node} up\n"
        ),
    )
    .await?;
    batch(
        Some(&between),
        &format!("link set {node} up\nlink set far up\n"),
    )
    .await?;
    let mut command = Command::new("nsenter");
    command
        .arg(format!(
            "--net={}",
            name::namespace_path(&between).display()
        ))
        .arg(program)
        .args([node, "far", &format!("{milliseconds}ms")])
        .stdin(Stdio::null());
    process::spawn(&mut command, log).map(drop)
}

/// Undoes [`lengthen`]. Does nothing when the cable is as it was made.
pub(crate) async fn shorten(cluster: &ClusterName, node: &str) -> Result<()> {
    let (host, between) = (cluster.namespace(HOST), cluster.namespace(&between(node)));
    if !name::namespace_path(&between).exists() {
        return Ok(());
    }
    batch(
        Some(&between),
        // The other end of "far" goes with it, and its name is free again.
        &format!("link del far\nlink set {node} netns {host}\n"),
    )
    .await?;
    batch(
        Some(&host),
        &format!("link set {node} master br0\nlink set {node} up\n"),
    )
    .await?;
    // Its devices are gone, but the program still holds the namespace.
    let pids = process::run(Command::new("ip").args(["netns", "pids", &between])).await?;
    for process in pids
        .lines()
        .filter_map(|pid| Identity::of(pid.trim().parse().ok()?))
    {
        process.end().await?;
    }
    batch(None, &format!("netns delete {between}\n")).await
}

/// The machine that stands for a longer cable.
fn between(node: &str) -> String {
    format!("{node}-delay")
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
