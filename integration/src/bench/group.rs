//! The two kinds of group that lose their masters: a Pipeline, and stock Redis with stock Sentinel.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::stock;
use crate::scene::{Scene, eventually};

/// How many data pods either has.
const DATA_PODS: usize = 3;

/// A group in a namespace of its own.
pub(super) struct Group {
    pub(super) scene: Scene,
    /// Where clients ask for the master.
    pub(super) sentinel: String,
    is_stock: bool,
}

impl Group {
    /// A Pipeline with nothing in its spec.
    pub(super) async fn duke(scene: Scene) -> Result<Self> {
        scene.pipeline("demo", json!({})).await?;
        let sentinel = format!("duke-demo.{}.svc.cluster.local:26379", scene.namespace);
        Ok(Self {
            scene,
            sentinel,
            is_stock: false,
        })
    }

    /// Stock servers and Sentinels of the same image.
    pub(super) async fn stock(scene: Scene) -> Result<Self> {
        scene.apply(stock::MANIFEST).await?;
        let sentinel = format!("sentinel.{}.svc.cluster.local:26379", scene.namespace);
        Ok(Self {
            scene,
            sentinel,
            is_stock: true,
        })
    }

    /// Waits until there is one master that all others follow, and returns its pod's name.
    pub(super) async fn settled(&self, within: Duration) -> Result<String> {
        if !self.is_stock {
            return Ok(self.scene.settled("demo", DATA_PODS, within).await?.name);
        }
        eventually("stock's group is whole", within, async || {
            self.whole().await
        })
        .await
    }

    /// The master of stock's group, when every Sentinel names it and every other server follows it.
    async fn whole(&self) -> Result<String> {
        let mut named = Vec::new();
        for number in 0..DATA_PODS {
            let pod = format!("sentinel-{number}");
            let question = ["SENTINEL", "MASTER", "mymaster"];
            let answer = self.ask(&pod, "sentinel", "26379", &question).await?;
            let field = |name: &str| {
                let mut lines = answer.lines().skip_while(|line| *line != name);
                lines.nth(1).unwrap_or_default().to_owned()
            };
            ensure!(field("flags") == "master", "{pod}: {}", field("flags"));
            ensure!(field("num-other-sentinels") == "2", "{pod} knows too few");
            ensure!(field("num-slaves") == "2", "{pod} knows too few servers");
            named.push(field("ip"));
        }
        named.dedup();
        let [ip] = named.as_slice() else {
            anyhow::bail!("several masters: {named:?}");
        };
        let mut pods = Vec::new();
        for number in 0..DATA_PODS {
            pods.push(self.scene.pod(&format!("stock-{number}")).await?);
        }
        let master = pods.iter().find(|pod| pod.ip == *ip);
        let master = master.with_context(|| format!("no pod has the master's address {ip}"))?;
        // At first servers follow a name, after a failover an address.
        let addresses = [master.ip.clone(), format!("{}.stock", master.name)];
        for pod in &pods {
            let role = self.ask(&pod.name, "redis", "6379", &["ROLE"]).await?;
            let words: Vec<&str> = role.lines().collect();
            let is_right = match words.as_slice() {
                ["master", ..] => pod.name == master.name,
                ["slave", host, _, "connected", ..] => addresses.iter().any(|known| known == host),
                _ => false,
            };
            ensure!(is_right, "{}: {words:?}", pod.name);
        }
        Ok(master.name.clone())
    }

    async fn ask(&self, pod: &str, container: &str, port: &str, words: &[&str]) -> Result<String> {
        let command = [&["redis-cli", "-e", "-p", port][..], words].concat();
        self.scene.exec(pod, container, &command).await
    }
}
