//! The programs of a node, their arguments and their configuration files.
//!
//! Pure but for writing those files. Kubelet and containerd keep their default paths: the machine's mount
//! namespace makes them the node's own.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    cgroup,
    control::CLUSTER_RANGE,
    credential::Credentials,
    manifest::Daemon,
    name::{self, ClusterName, HOST_ADDRESS},
};
use crate::{build::Programs, image};

/// containerd's socket, as seen inside the machine.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";

/// What a node's programs are told, besides fixed things.
pub(crate) struct Node<'a> {
    /// The cluster.
    pub(crate) cluster: &'a ClusterName,
    /// Counted from 1.
    pub(crate) number: usize,
    /// Where programs lie.
    pub(crate) programs: &'a Programs,
    /// Tokens and certificates.
    pub(crate) credentials: &'a Credentials,
    /// The node's folder.
    pub(crate) folder: &'a Path,
    /// After how many seconds of silence a node is `NotReady`.
    pub(crate) grace: u32,
}

impl Node<'_> {
    /// Its name.
    pub(crate) fn name(&self) -> String {
        name::node(self.number)
    }

    /// Its control group, without the hierarchies' mount points.
    pub(crate) fn cgroup(&self) -> String {
        self.cluster.namespace(&self.name())
    }

    /// Writes all configuration files.
    pub(crate) fn configure(&self) -> Result<()> {
        self.write("containerd.toml", &self.containerd_config())?;
        fs::create_dir_all(self.folder.join("cni")).context("making the folder of networks")?;
        self.write("cni/10-pods.conflist", &pretty(&self.network_config())?)?;
        // JSON is YAML.
        self.write("kubelet.yaml", &pretty(&self.kubelet_config()?)?)?;
        self.write("proxy.yaml", &pretty(&self.proxy_config())?)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.folder.join(file);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    fn containerd_config(&self) -> String {
        let cni = self.path("cni");
        let pause = image::PAUSE;
        // "restrict_oom_score_adj": without CAP_SYS_RESOURCE runc may not lower a score, and fails.
        format!(
            r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
"#
        )
    }

    fn network_config(&self) -> Value {
        json!({
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "ptp",
                    "ipMasq": false,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": "/run/ipam",
                        "ranges": [[{ "subnet": name::pod_range(self.number) }]],
                        "routes": [{ "dst": "0.0.0.0/0" }],
                    },
                },
                { "type": "portmap", "capabilities": { "portMappings": true } },
            ],
        })
    }

    fn kubelet_config(&self) -> Result<Value> {
        let mut config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.cgroup()),
            "clusterDNS": [HOST_ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": "/etc/resolv.conf",
            "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": true },
                "x509": { "clientCAFile": self.credentials.path("ca.crt") },
            },
            "authorization": { "mode": "Webhook" },
            "failSwapOn": false,
            "volumePluginDir": "/var/lib/kubelet/volumeplugins",
            "makeIPTablesUtilChains": false,
            "serializeImagePulls": true,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
            "nodeStatusUpdateFrequency": "4s",
            "nodeStatusReportFrequency": "1m",
            // A lease is renewed after a quarter of its time.
            "nodeLeaseDurationSeconds": self.grace,
            "volumeStatsAggPeriod": "-1s",
            "maxPods": 100,
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {
                "nodefs.available": "1%", "imagefs.available": "1%", "memory.available": "50Mi",
            },
            // Tests kill the same server over and over; the usual five minutes would end them.
            "crashLoopBackOff": { "maxContainerRestartPeriod": "2s" },
            "featureGates": { "KubeletCrashLoopBackOffMax": true },
        });
        if !cgroup::unified()?
            && let Some(settings) = config.as_object_mut()
        {
            settings.insert("failCgroupV1".to_owned(), json!(false));
        }
        Ok(config)
    }

    fn proxy_config(&self) -> Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": CLUSTER_RANGE,
            "hostnameOverride": self.name(),
            "clientConnection": { "kubeconfig": self.credentials.path("proxy.kubeconfig") },
            // Zero: leave the kernel's limits alone, they are not this namespace's to set.
            "conntrack": { "maxPerCore": 0 },
        })
    }

    /// containerd, ours alone: the machine's own, if any, is neither used nor touched.
    pub(crate) fn containerd(&self) -> Daemon {
        self.daemon(
            Path::new("/usr/bin/containerd"),
            vec![format!("--config={}", self.path("containerd.toml"))],
        )
    }

    /// The kubelet.
    pub(crate) fn kubelet(&self) -> Daemon {
        let name = self.name();
        self.daemon(
            &self.programs.kubelet,
            vec![
                format!("--config={}", self.path("kubelet.yaml")),
                format!(
                    "--kubeconfig={}",
                    self.credentials.path(&format!("{name}.kubeconfig"))
                ),
                format!("--hostname-override={name}"),
                format!("--node-ip={}", name::node_address(self.number)),
            ],
        )
    }

    /// kube-proxy.
    pub(crate) fn proxy(&self) -> Daemon {
        self.daemon(
            &self.programs.proxy,
            vec![format!("--config={}", self.path("proxy.yaml"))],
        )
    }

    fn daemon(&self, program: &Path, arguments: Vec<String>) -> Daemon {
        Daemon {
            machine: self.name(),
            program: program.display().to_string(),
            arguments,
            process: None,
        }
    }
}

fn pretty(value: &Value) -> Result<String> {
    serde_json::to_string_pretty(value).context("writing a configuration down")
}
