//! The programs of the control plane and their arguments.
//!
//! Pure: says what runs; `cluster` starts it.

use std::path::Path;

use super::{
    credential::Credentials,
    manifest::Daemon,
    name::{API_PORT, HOST, HOST_ADDRESS, POD_RANGE, SERVICE_RANGE},
};
use crate::build::Programs;

/// What the control plane's programs are told, besides fixed things.
pub(crate) struct Control<'a> {
    /// Where programs lie.
    pub(crate) programs: &'a Programs,
    /// Tokens and certificates.
    pub(crate) credentials: &'a Credentials,
    /// The cluster's folder.
    pub(crate) folder: &'a Path,
    /// After how many seconds of silence a node is `NotReady`.
    pub(crate) grace: u32,
}

impl Control<'_> {
    /// etcd; what it holds dies with the cluster, so it need not wait for the disk.
    pub(crate) fn etcd(&self) -> Daemon {
        daemon(
            &self.programs.etcd,
            vec![
                format!("--data-dir={}", self.folder.join("etcd").display()),
                "--unsafe-no-fsync".to_owned(),
                "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
                "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
                "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
                "--log-level=error".to_owned(),
            ],
        )
    }

    /// The API server.
    pub(crate) fn apiserver(&self) -> Daemon {
        let file = |name: &str| self.credentials.path(name);
        daemon(
            &self.programs.apiserver,
            vec![
                "--etcd-servers=http://127.0.0.1:2379".to_owned(),
                format!("--bind-address={HOST_ADDRESS}"),
                format!("--advertise-address={HOST_ADDRESS}"),
                format!("--secure-port={API_PORT}"),
                format!("--tls-cert-file={}", file("api.crt")),
                format!("--tls-private-key-file={}", file("api.key")),
                format!("--client-ca-file={}", file("ca.crt")),
                format!("--token-auth-file={}", file("tokens.csv")),
                "--authorization-mode=Node,RBAC".to_owned(),
                format!("--service-account-key-file={}", file("account.pub")),
                format!("--service-account-signing-key-file={}", file("account.key")),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-cluster-ip-range={SERVICE_RANGE}"),
                "--allow-privileged".to_owned(),
                // Without these two, logs and exec are refused by kubelets.
                format!(
                    "--kubelet-client-certificate={}",
                    file("kubelet-client.crt")
                ),
                format!("--kubelet-client-key={}", file("kubelet-client.key")),
                "--kubelet-preferred-address-types=InternalIP".to_owned(),
                format!(
                    "--audit-policy-file={}",
                    self.folder.join(AUDIT_POLICY).display()
                ),
                format!(
                    "--audit-log-path={}",
                    self.folder.join("log/audit.log").display()
                ),
            ],
        )
    }

    /// The controller-manager.
    pub(crate) fn controller_manager(&self) -> Daemon {
        let file = |name: &str| self.credentials.path(name);
        daemon(
            &self.programs.controller_manager,
            vec![
                format!("--kubeconfig={}", file("controller-manager.kubeconfig")),
                format!("--service-account-private-key-file={}", file("account.key")),
                format!("--root-ca-file={}", file("ca.crt")),
                "--use-service-account-credentials".to_owned(),
                format!("--node-monitor-grace-period={}s", self.grace),
                "--node-monitor-period=1s".to_owned(),
                "--leader-elect=false".to_owned(),
                "--kube-api-qps=200".to_owned(),
                "--kube-api-burst=400".to_owned(),
            ],
        )
    }

    /// The scheduler.
    pub(crate) fn scheduler(&self) -> Daemon {
        let config = self.credentials.path("scheduler.kubeconfig");
        daemon(
            &self.programs.scheduler,
            vec![
                format!("--kubeconfig={config}"),
                format!("--authentication-kubeconfig={config}"),
                format!("--authorization-kubeconfig={config}"),
                "--leader-elect=false".to_owned(),
            ],
        )
    }

    /// Our own maker of volumes.
    pub(crate) fn provisioner(&self, program: &Path) -> Daemon {
        let config = self.credentials.path("admin.kubeconfig");
        let volumes = self.folder.join("volumes").display().to_string();
        daemon(program, vec!["provision".to_owned(), config, volumes])
    }

    /// `CoreDNS`.
    pub(crate) fn coredns(&self) -> Daemon {
        daemon(
            &self.programs.coredns,
            vec![format!("-conf={}", self.folder.join("Corefile").display())],
        )
    }

    /// The text of the Corefile.
    pub(crate) fn corefile(&self) -> String {
        let config = self.credentials.path("admin.kubeconfig");
        format!(
            ".:53 {{\n\
             \x20 bind {HOST_ADDRESS}\n\
             \x20 errors\n\
             \x20 kubernetes cluster.local in-addr.arpa {{\n\
             \x20   kubeconfig {config}\n\
             \x20   ttl 1\n\
             \x20 }}\n\
             }}\n"
        )
    }
}

fn daemon(program: &Path, arguments: Vec<String>) -> Daemon {
    Daemon {
        machine: HOST.to_owned(),
        program: program.display().to_string(),
        arguments,
        process: None,
    }
}

/// The file that says what the API server records of requests.
pub(crate) const AUDIT_POLICY: &str = "audit-policy.yaml";
/// The range `kube-proxy` takes for the cluster's own.
pub(crate) const CLUSTER_RANGE: &str = POD_RANGE;
