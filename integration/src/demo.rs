//! `cargo demo`: the whole thing once, for real: cluster, operator, example, a master that dies.
//!
//! Uses a cluster of its own, or with `--context` one that is there. Leaves it standing, and says
//! how to look around and how to take it away.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::{
    client::run::Writer,
    cluster::{Cluster, Settings},
    place, process, progress,
    scene::eventually,
};

/// The Pipeline of `example/pipeline.yaml`.
const PIPELINE: &str = "example";
/// How long the example may take to become Ready, images of a foreign cluster included.
const PATIENCE: Duration = Duration::from_mins(3);

/// Where the demo takes place.
#[derive(Debug)]
enum Stage {
    /// A cluster of our own.
    Own(Cluster),
    /// A context of the user's kubeconfig.
    Foreign(String),
}

/// Runs the demo on a cluster of its own called `name`, or on an existing one.
///
/// # Errors
/// When something on the way does not come about; the message says what.
pub async fn run(name: &str, context: Option<&str>) -> Result<()> {
    let stage = match context {
        Some(context) => Stage::Foreign(context.to_owned()),
        None => Stage::Own(Cluster::up(&Settings::new(name)?).await?),
    };
    stage.apply("example/operator.yaml").await?;
    // The API server needs a moment before it knows the new kind.
    let kind = "customresourcedefinition/pipeline.kubernetes.lol";
    stage
        .kubectl(&["wait", "--for=condition=Established", "--timeout=60s", kind])
        .await?;
    stage.apply("example/pipeline.yaml").await?;
    progress::step("the Pipeline becomes Ready", stage.await_ready()).await?;
    progress::print("\n$ kubectl get pipeline");
    progress::print(&stage.kubectl(&["get", "pipeline"]).await?);
    stage.fail_over().await?;
    progress::print("\n$ kubectl get pipeline");
    progress::print(&stage.kubectl(&["get", "pipeline"]).await?);
    stage.farewell();
    Ok(())
}

impl Stage {
    fn command(&self) -> Command {
        match self {
            Self::Own(cluster) => cluster.kubectl(),
            Self::Foreign(context) => {
                let mut command = Command::new("kubectl");
                command.args(["--context", context]);
                command
            }
        }
    }

    async fn kubectl(&self, words: &[&str]) -> Result<String> {
        process::run(self.command().args(words)).await
    }

    async fn apply(&self, file: &str) -> Result<()> {
        let path = place::workspace().join(file).display().to_string();
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &path])
            .await?;
        progress::say(&format!("applied {file}"));
        Ok(())
    }

    /// One field of the Pipeline, empty when it is not there yet.
    async fn field(&self, path: &str) -> Result<String> {
        let output = format!("jsonpath={{{path}}}");
        self.kubectl(&["get", "pipeline", PIPELINE, "-o", &output])
            .await
    }

    async fn await_ready(&self) -> Result<()> {
        eventually("the Pipeline is Ready", PATIENCE, async || {
            let phase = self.field(".status.phase").await?;
            ensure!(phase == "Ready", "its status is {phase:?}");
            Ok(())
        })
        .await
    }

    /// Writes through a Sentinel client, kills the master's process, and shows what a client noticed.
    async fn fail_over(&self) -> Result<()> {
        let master = self.field(".status.master").await?;
        let former = self.field(".status.masterAddress").await?;
        progress::print(&format!(
            "writing every millisecond through duke-{PIPELINE}:26379, master name mymaster …"
        ));
        let writer = Writer::start(self.prober(&master)).await?;
        match self {
            Self::Own(cluster) => {
                progress::print(&format!(
                    "killing the server process of {master} (signal 9)"
                ));
                cluster.kill_server("default", &master).await?;
            }
            Self::Foreign(_) => {
                progress::print(&format!("deleting the pod {master} by force"));
                self.kubectl(&["delete", "pod", &master, "--force", "--grace-period=0"])
                    .await?;
            }
        }
        let report = writer.ended().await?;
        let [from, to] = &report.masters;
        progress::print(&format!(
            "no write succeeded for {} ms; then the master was {to} instead of {from}; of {} acknowledged \
             writes {} were lost",
            report.gap_ms, report.acknowledged, report.lost
        ));
        progress::step(
            "the new master is recorded, and everybody follows it",
            self.await_replaced(&former),
        )
        .await
    }

    /// `former` is an address: a deleted pod's successor has its name, and, if it had followed for
    /// long enough, may be master itself.
    async fn await_replaced(&self, former: &str) -> Result<()> {
        eventually(
            "another master is recorded, all is Ready",
            PATIENCE,
            async || {
                let master = self.field(".status.masterAddress").await?;
                ensure!(
                    !master.is_empty() && master != former,
                    "the master is {master:?}"
                );
                let phase = self.field(".status.phase").await?;
                ensure!(phase == "Ready", "its status is {phase:?}");
                Ok(())
            },
        )
        .await
    }

    /// Our own prober on a node, or a loop in a data pod of a foreign cluster.
    fn prober(&self, master: &str) -> Command {
        match self {
            Self::Own(cluster) => {
                let host = format!("duke-{PIPELINE}.default.svc.cluster.local:26379");
                let program = place::program().unwrap_or_else(|_| "testbed".into());
                let mut command = cluster
                    .command_in_node("node-1", program)
                    .unwrap_or_else(|_| Command::new("false"));
                command.args([
                    "probe",
                    "--sentinel",
                    &host,
                    "--settled-ms",
                    "500",
                    "--seconds",
                    "60",
                ]);
                command
            }
            Self::Foreign(_) => {
                let other = if master.ends_with("-0") { "1" } else { "0" };
                let pod = format!("pod/pipeline-{PIPELINE}-{other}");
                let mut command = self.command();
                command.args(["exec", &pod, "-c", "pipeline", "--", "bash", "-c", LOOP]);
                command
            }
        }
    }

    fn farewell(&self) {
        let lines = match self {
            Self::Own(cluster) => {
                let name = cluster.name();
                format!(
                    "look around:  export KUBECONFIG={}\n              kubectl get pipeline,pods,services\n              \
                     cargo testbed --cluster {name} run node-1 redis-cli \
                     -h duke-{PIPELINE}.default.svc.cluster.local -p 26379 sentinel masters\n\
                     tear down:    cargo testbed --cluster {name} down",
                    cluster.kubeconfig().display()
                )
            }
            Self::Foreign(context) => format!(
                "look around:  kubectl --context {context} get pipeline,pods,services\n\
                 tear down:    kubectl --context {context} delete -f example/pipeline.yaml -f example/operator.yaml"
            ),
        };
        progress::print(&format!("\n{lines}"));
    }
}

/// The same probe where only the data image's own programs are at hand: coarser, a process a write. Every
/// write is the number of the acknowledged ones before it, so that the first look at another master tells how
/// many of them it has.
const LOOP: &str = r#"
now() { date +%s%3N; }
find() { redis-cli -h "duke-example" -p 26379 sentinel get-master-addr-by-name mymaster | head -n 1; }
master=$(find); count=0; last=$(now); first=$master; lost=
while :; do
  if [ "$master" != "$first" ] && [ -z "$lost" ]; then
    kept=$(timeout 1 redis-cli -h "$master" get probe 2>/dev/null) || kept=unknown
    case $kept in
      ('') lost=$count ;;
      (*[!0-9]*) master=$(find); continue ;;
      (*) lost=$((count - kept - 1)); [ $lost -lt 0 ] && lost=0 ;;
    esac
  fi
  if [ "$(timeout 1 redis-cli -h "$master" set probe $count 2>/dev/null)" = OK ]; then
    count=$((count + 1)); at=$(now)
    [ $count = 1 ] && echo '"started"'
    if [ "$master" != "$first" ]; then
      echo "{\"ended\":{\"acknowledged\":$count,\"gap_ms\":$((at - last)),\"masters\":[\"$first\",\"$master\"],\"lost\":$lost}}"
      exit
    fi
    last=$at
  else
    master=$(find)
  fi
done
"#;
