//! A group of one story's own, and everything that holds it to account: clients on a node, the status in
//! sentences, the keys that must be there in the end.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::{
    client::run::{Discoverer, Writer},
    process,
    scene::{PodView, Scene, patiently},
};
use serde_json::Value;

use crate::bed::{Bed, SETTLE};

/// Where clients run.
const CLIENTS: &str = "node-1";

/// A Pipeline `demo` in a namespace of its own, and what holds it to account.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) bed: &'a Bed,
    pub(super) scene: Scene,
}

impl<'a> Group<'a> {
    /// Makes the Pipeline, without waiting for it.
    pub(super) async fn begin(bed: &'a Bed, namespace: &str, spec: &Value) -> Result<Self> {
        let scene = bed.scene(namespace).await?;
        scene.pipeline("demo", spec.clone()).await?;
        Ok(Self { bed, scene })
    }

    /// Makes it and waits until it is whole.
    pub(super) async fn whole(bed: &'a Bed, namespace: &str, spec: &Value) -> Result<Self> {
        let group = Self::begin(bed, namespace, spec).await?;
        group.settled().await?;
        Ok(group)
    }

    /// Waits until it is as its spec wants it; returns the master's pod.
    pub(super) async fn settled(&self) -> Result<PodView> {
        let found = self.scene.pipelines().await?.get("demo").await?;
        let wanted = found.data["spec"]["pipeline"]["replicas"].as_u64();
        let wanted = usize::try_from(wanted.unwrap_or(3))?;
        self.scene.settled("demo", wanted, 2 * SETTLE).await
    }

    /// The data pods.
    pub(super) async fn data(&self) -> Result<Vec<PodView>> {
        self.scene.pods("demo", "pipeline").await
    }

    /// The Dukes.
    pub(super) async fn dukes(&self) -> Result<Vec<PodView>> {
        self.scene.pods("demo", "duke").await
    }

    /// The host name and port of one of its Services.
    fn host(&self, service: &str, port: u16) -> String {
        format!(
            "{service}-demo.{}.svc.cluster.local:{port}",
            self.scene.namespace
        )
    }

    /// Writes as many keys, and waits until every replica has them.
    pub(super) async fn fill(&self, keys: usize) -> Result<()> {
        let witnesses = self.data().await?.len().saturating_sub(1);
        let (keys, witnesses) = (keys.to_string(), witnesses.to_string());
        let address = self.host("pipeline", 6379);
        let words = ["fill", &address, "--keys", &keys, "--witnesses", &witnesses];
        let mut command = self.bed.client_program(CLIENTS, &words)?;
        process::run(&mut command).await.map(drop)
    }

    /// How many of the keys that were filled in the server of a pod has.
    pub(super) async fn count(&self, pod: &PodView, keys: usize) -> Result<usize> {
        let (keys, address) = (keys.to_string(), format!("{}:6379", pod.ip));
        let words = ["count", &address, "--keys", &keys];
        let mut command = self.bed.client_program(CLIENTS, &words)?;
        let answer = process::run(&mut command).await?;
        answer.trim().parse().context("a number of keys")
    }

    /// The group is whole again, and its master has every key that was filled in.
    pub(super) async fn has_kept(&self, keys: usize) -> Result<PodView> {
        let master = self.settled().await?;
        let found = self.count(&master, keys).await?;
        ensure!(
            found == keys,
            "{} of {keys} keys that every replica had are lost; {} is master: {}",
            keys.saturating_sub(found),
            master.name,
            self.said().await?
        );
        Ok(master)
    }

    /// A client that asks the Dukes and writes as often as told, until it is stopped.
    pub(super) async fn writes_by_sentinel(&self, per_second: u64) -> Result<Writer> {
        let address = self.host("duke", 26379);
        self.writer(&["--sentinel", &address], per_second).await
    }

    /// A client that writes to the Service of the master as often as told, until it is stopped.
    pub(super) async fn writes_by_service(&self, per_second: u64) -> Result<Writer> {
        let address = self.host("pipeline", 6379);
        self.writer(&["--address", &address], per_second).await
    }

    async fn writer(&self, target: &[&str], per_second: u64) -> Result<Writer> {
        let period = 1000_u64.checked_div(per_second).unwrap_or(1).to_string();
        let limits = ["--period-ms", &period, "--seconds", "3600"];
        let words = [&["probe"], target, &limits].concat();
        Writer::start(self.bed.client_program(CLIENTS, &words)?).await
    }

    /// A client that asks for the master every 20 ms by the Dukes' Service.
    pub(super) async fn discoverer(&self) -> Result<Discoverer> {
        let address = self.host("duke", 26379);
        let words = [
            "discover",
            &address,
            "--period-ms",
            "20",
            "--seconds",
            "600",
        ];
        Discoverer::start(self.bed.client_program(CLIENTS, &words)?).await
    }

    /// Waits until clients of the Dukes find a master that takes writes.
    pub(super) async fn has_master(&self, within: Duration) -> Result<()> {
        let address = self.host("duke", 26379);
        let words = ["probe", "--sentinel", &address, "--seconds", "1"];
        let found = patiently("a master takes writes", within, async || {
            let mut command = self.bed.client_program(CLIENTS, &words)?;
            process::run(&mut command).await.map(drop)
        });
        match found.await {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error:#}: {}", self.said().await?),
        }
    }

    /// Everything the Pipeline's status says in sentences.
    pub(super) async fn said(&self) -> Result<String> {
        let object = self.scene.pipelines().await?.get("demo").await?;
        let status = &object.data["status"];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let conditions = conditions.map(|condition| {
            let [kind, holds, reason] =
                ["type", "status", "reason"].map(|key| word(&condition[key]));
            format!("{kind}={holds} {reason}: {}", word(&condition["message"]))
        });
        let phase = format!(
            "{} {}",
            word(&status["phase"]),
            word(&status["phaseReason"])
        );
        let said: Vec<String> = std::iter::once(phase).chain(conditions).collect();
        Ok(said.join("; "))
    }

    /// Waits until the status says all of these words somewhere.
    pub(super) async fn says(&self, words: &[&str], within: Duration) -> Result<()> {
        patiently(&format!("the status says {words:?}"), within, async || {
            let said = self.said().await?.to_lowercase();
            let missing = words
                .iter()
                .find(|word| !said.contains(&word.to_lowercase()));
            ensure!(missing.is_none(), "{missing:?} is missing: {said}");
            Ok(())
        })
        .await
    }

    /// Changes the Pipeline.
    pub(super) async fn change(&self, spec: &Value) -> Result<()> {
        self.scene.pipeline("demo", spec.clone()).await
    }

    /// Waits until every server has a setting.
    pub(super) async fn has_setting(&self, (name, value): (&str, &str)) -> Result<()> {
        patiently(&format!("{name} is {value}"), SETTLE, async || {
            for pod in self.data().await? {
                let answer = self
                    .scene
                    .redis(&pod.name, &["CONFIG", "GET", name])
                    .await?;
                ensure!(
                    answer.lines().nth(1) == Some(value),
                    "{}: {answer}",
                    pod.name
                );
            }
            Ok(())
        })
        .await
    }

    /// Waits until every server has everything it knows in its snapshot.
    pub(super) async fn has_saved(&self) -> Result<()> {
        for pod in self.data().await? {
            patiently(&format!("{} has saved", pod.name), SETTLE, async || {
                let words = ["INFO", "persistence"];
                let info = self.scene.redis(&pod.name, &words).await?;
                let has = |line: &str| info.lines().any(|found| found == line);
                ensure!(
                    has("rdb_changes_since_last_save:0") && has("rdb_bgsave_in_progress:0"),
                    "{info}"
                );
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Moves the master by order until it is on a node: nobody else may be promoted meanwhile.
    pub(super) async fn master_on(&self, node: &str) -> Result<()> {
        let password = self.bed.password(&self.scene, "demo", "operator").await?;
        let login = [
            "--user",
            "operator",
            "--pass",
            &password,
            "--no-auth-warning",
        ];
        let others: Vec<String> = self
            .data()
            .await?
            .into_iter()
            .filter(|pod| pod.node != node)
            .map(|pod| pod.name)
            .collect();
        let prefer = async |priority: &str| -> Result<()> {
            for pod in &others {
                let words = ["CONFIG", "SET", "replica-priority", priority];
                self.scene
                    .redis(pod, &[&login[..], &words].concat())
                    .await?;
            }
            Ok(())
        };
        prefer("0").await?;
        patiently(
            &format!("the master is on {node}"),
            2 * SETTLE,
            async || {
                let master = self.settled().await?;
                if master.node == node {
                    return Ok(());
                }
                let duke = self.dukes().await?.into_iter().next().context("a Duke")?;
                let order = [&login[..], &["SENTINEL", "FAILOVER", "mymaster"]].concat();
                let said = self.scene.ask(&duke.ip, 26379, &order).await?;
                patiently("the master moves", SETTLE, async || {
                    let now = self.scene.view("demo").await?.master;
                    ensure!(now != master.name, "{now} is, the Duke said {said}");
                    Ok(())
                })
                .await?;
                anyhow::bail!("{} was master, on {}", master.name, master.node)
            },
        )
        .await?;
        prefer("100").await
    }

    /// Lets the namespace go.
    pub(super) async fn end(self) -> Result<()> {
        self.scene.close().await
    }
}
