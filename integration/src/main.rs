//! The testbed's command line: parses and calls the library.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use integration::{
    bench, build, client,
    cluster::{self, Cluster, ClusterName, Settings, operator},
    debian::{self, stock::Stock},
    demo,
    fault::Direction,
    image, place, progress,
    verify::{self, mixed, upstream},
};

/// A real Kubernetes on this machine, to try the operator on and to test it.
#[derive(Debug, Parser)]
#[command(name = "testbed", version)]
struct Arguments {
    /// The cluster that is meant.
    #[arg(long, global = true, default_value = "demo")]
    cluster: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Installs the Debian packages that clusters and tests need, where they are missing.
    Packages,
    /// Builds every program a cluster runs, and the images, without starting anything.
    Build {
        /// The Kubernetes version.
        #[arg(long, default_value = build::KUBERNETES)]
        kubernetes: String,
    },
    /// Brings a cluster up, or verifies that it is.
    Up {
        /// How many nodes it has.
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// The Kubernetes version.
        #[arg(long, default_value = build::KUBERNETES)]
        kubernetes: String,
    },
    /// Takes a cluster away; nothing of it is left.
    Down {
        /// Every cluster instead of one.
        #[arg(long)]
        all: bool,
    },
    /// Lists the clusters of this machine.
    List,
    /// Removes what crashed clusters left behind.
    Sweep,
    /// Builds the project's own image and brings it onto every node.
    Image,
    /// Runs kubectl as the cluster's administrator.
    Kubectl {
        /// What kubectl is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs a program on a node, where pods, Services and names are reachable.
    Run {
        /// The machine: `node-1`, … or `host`.
        machine: String,
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
    /// Strikes.
    Fault {
        #[command(subcommand)]
        fault: Fault,
    },
    /// Clients, where pods are reachable.
    #[command(flatten)]
    Client(client::verb::Verb),
    /// Shows it all: a cluster, the operator, a master that dies and is replaced.
    Demo {
        /// Use the cluster of this kubectl context instead of one of our own.
        #[arg(long)]
        context: Option<String>,
    },
    /// Measures on a cluster, stock Sentinel beside Duke, and prints a table.
    Bench {
        /// How many Pipelines are created.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// How often each group loses its master's process.
        #[arg(long, default_value_t = 20)]
        kills: usize,
    },
    /// Runs every suite of checks and tests.
    Verify(verify::Choice),
    /// Runs the Sentinel tests that Redis and Valkey publish, with Duke in the sentinel's place.
    Upstream(upstream::Plan),
    /// Unpacks the programs of a stock server, and prints the folder they are in.
    Stock {
        /// Which: redis-8.0, valkey-8.1.
        name: String,
    },
    /// Runs Duke's tests beside stock sentinels of other releases than the machine's own.
    Mixed {
        /// Whose: redis-8.0, valkey-8.1; everybody's when not said.
        names: Vec<String>,
    },
    /// Holds the dependencies against the policy.
    Policy,
    #[command(hide = true)]
    Enter { folder: PathBuf },
    #[command(hide = true)]
    Forward { address: SocketAddr },
    #[command(hide = true)]
    Provision {
        kubeconfig: PathBuf,
        folder: PathBuf,
    },
}

/// The one program whose stop and start Kubernetes is told of.
const OPERATOR: &str = "operator";

/// A pod, as `NAMESPACE/NAME`.
#[derive(Debug, Clone)]
struct PodName {
    namespace: String,
    name: String,
}

impl std::str::FromStr for PodName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (namespace, name) = text.split_once('/').context("write NAMESPACE/POD")?;
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

#[derive(Debug, Subcommand)]
enum Fault {
    /// Kills the server process in a pod, signal 9.
    Kill { pod: PodName },
    /// Freezes the server process in a pod.
    Freeze { pod: PodName },
    /// Lets a frozen one go on.
    Thaw { pod: PodName },
    /// Kills it after wiping its emptyDirs, so that it comes back without memory.
    Empty { pod: PodName },
    /// Deletes a pod.
    Delete {
        pod: PodName,
        /// At once, without waiting for its node.
        #[arg(long)]
        force: bool,
    },
    /// Cuts a node off.
    Cut {
        node: String,
        /// One direction only, as the node sees it.
        #[arg(long)]
        only: Option<Direction>,
    },
    /// Undoes everything done to a node's cable.
    Heal { node: String },
    /// Loses a share of a node's packets.
    Drop { node: String, percent: u8 },
    /// Delays what passes a node's cable, each way.
    Delay { node: String, milliseconds: u32 },
    /// Stops a program of the cluster: apiserver, scheduler, kubelet-1, …; operator.
    Stop { program: String },
    /// Starts a stopped program of the cluster.
    Start { program: String },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            progress::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    tokio::runtime::Runtime::new()
        .context("starting the runtime")?
        .block_on(act(&arguments.cluster, arguments.verb))
}

async fn act(name: &str, verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Packages => debian::package::ensure().await?,
        Verb::Build { kubernetes } => prepare(&kubernetes).await?,
        Verb::Up { nodes, kubernetes } => {
            let settings = Settings {
                nodes,
                kubernetes,
                ..Settings::new(name)?
            };
            let cluster = Cluster::up(&settings).await?;
            progress::say(&format!(
                "export KUBECONFIG={}",
                cluster.kubeconfig().display()
            ));
        }
        Verb::Down { all: false } => Cluster::down(&ClusterName::new(name)?).await?,
        Verb::Down { all: true } => {
            for (name, _) in Cluster::list()? {
                Cluster::down(&name).await?;
            }
        }
        Verb::List => list()?,
        Verb::Sweep => {
            for name in Cluster::sweep().await? {
                progress::say(&format!("removed what was left of {name}"));
            }
        }
        Verb::Image => {
            let cluster = Cluster::open(name).await?;
            cluster
                .load_images(&[image::ensure_project().await?])
                .await?;
        }
        Verb::Kubectl { arguments } => {
            let cluster = Cluster::open(name).await?;
            return pass(cluster.kubectl().args(arguments)).await;
        }
        Verb::Run { machine, words } => {
            let cluster = Cluster::open(name).await?;
            let (program, arguments) = words.split_first().context("clap asks for a program")?;
            return pass(cluster.command_in_node(&machine, program)?.args(arguments)).await;
        }
        Verb::Fault { fault } => strike(&Cluster::open(name).await?, fault).await?,
        Verb::Client(verb) => verb.run().await?,
        Verb::Demo { context } => demo::run(name, context.as_deref()).await?,
        Verb::Forward { address } => cluster::forward(address).await?,
        Verb::Provision { kubeconfig, folder } => {
            Box::pin(cluster::provision(&kubeconfig, &folder)).await?;
        }
        Verb::Verify(choice) => return Ok(verdict(verify::run(&choice).await?)),
        Verb::Bench { rounds, kills } => {
            Box::pin(bench::run(name, bench::Plan { rounds, kills })).await?;
        }
        Verb::Upstream(plan) => return Ok(verdict(upstream::run(&plan).await?)),
        Verb::Stock { name } => {
            let unpacked = Stock::named(&name)?.ensure().await?;
            progress::print(&unpacked.programs.display().to_string());
        }
        Verb::Mixed { names } => return Ok(verdict(mixed::run(&names).await?)),
        Verb::Policy => verify::policy::check(place::workspace(), &place::cache()?)?,
        Verb::Enter { folder } => cluster::enter(&folder)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict(passed: bool) -> ExitCode {
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Builds everything, and shows the images.
async fn prepare(kubernetes: &str) -> Result<()> {
    debian::package::ensure().await?;
    let programs = async {
        let programs = build::ensure_programs(kubernetes).await?;
        image::ensure(&programs).await
    };
    let (archives, own) = tokio::join!(programs, image::ensure_project());
    for archive in archives?.into_iter().chain([own?]) {
        progress::print(&format!("{} {}", archive.tag, archive.path.display()));
    }
    Ok(())
}

async fn strike(cluster: &Cluster, fault: Fault) -> Result<()> {
    match fault {
        Fault::Kill { pod } => cluster.kill_server(&pod.namespace, &pod.name).await,
        Fault::Freeze { pod } => cluster.freeze_server(&pod.namespace, &pod.name).await,
        Fault::Thaw { pod } => cluster.thaw_server(&pod.namespace, &pod.name).await,
        Fault::Empty { pod } => cluster.empty_server(&pod.namespace, &pod.name).await,
        Fault::Delete { pod, force } => cluster.delete_pod(&pod.namespace, &pod.name, force).await,
        Fault::Cut { node, only: None } => cluster.cut(&node).await,
        Fault::Cut {
            node,
            only: Some(direction),
        } => cluster.cut_direction(&node, direction).await,
        Fault::Heal { node } => cluster.heal(&node).await,
        Fault::Drop { node, percent } => cluster.drop_packets(&node, percent).await,
        Fault::Delay { node, milliseconds } => cluster.delay_packets(&node, milliseconds).await,
        Fault::Stop { program } if program == OPERATOR => operator::scale(cluster, 0).await,
        Fault::Start { program } if program == OPERATOR => {
            operator::scale(cluster, operator::REPLICAS).await
        }
        Fault::Stop { program } => cluster.stop_daemon(&program).await,
        Fault::Start { program } => cluster.start_daemon(&program).await,
    }
}

/// Runs a program in our place, with our input and output.
async fn pass(command: &mut tokio::process::Command) -> Result<ExitCode> {
    command.stdin(std::process::Stdio::inherit());
    let status = command.status().await.context("starting the program")?;
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    Ok(ExitCode::from(code))
}

fn list() -> Result<()> {
    for (name, manifest) in Cluster::list()? {
        let line = match manifest {
            Some(manifest) => format!(
                "{name}: {}, {} nodes of Kubernetes {}",
                match (manifest.whole(), manifest.alive()) {
                    (true, _) => "up",
                    (false, true) => "up, programs stopped",
                    (false, false) => "damaged",
                },
                manifest.nodes,
                manifest.kubernetes
            ),
            None => format!("{name}: damaged"),
        };
        progress::print(&line);
    }
    Ok(())
}
