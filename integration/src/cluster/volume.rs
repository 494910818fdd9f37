//! Makes the volumes of a cluster: folders of this machine, which every node sees.
//!
//! A claim's folder becomes a `PersistentVolume` of type `local`, so that the kubelet gives it to the pod's group as it
//! does with a real disk; the built-in host-path provisioner leaves it to root. All nodes share it: a pod that moves
//! away from a lost node finds its data.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use crate::progress;

/// The storage class, which is the default one.
pub(crate) const CLASS: &str = "shared";
/// What the class calls us.
pub(crate) const PROVISIONER: &str = "testbed.local/shared";
/// How long to wait after a failure, as while the API server is away.
const PAUSE: Duration = Duration::from_millis(500);

/// What `testbed provision KUBECONFIG FOLDER` does, for ever.
///
/// # Errors
/// When the kubeconfig cannot be read.
pub async fn provision(kubeconfig: &Path, folder: &Path) -> Result<()> {
    let read = Kubeconfig::read_from(kubeconfig).context("reading the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    loop {
        let outcome = tokio::select! {
            outcome = serve_claims(&client, folder) => outcome,
            outcome = serve_volumes(&client) => outcome,
        };
        if let Err(error) = outcome {
            progress::say(&format!("starting over: {error:#}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks at all claims, then at every change of one, until the watch ends.
async fn serve_claims(client: &Client, folder: &Path) -> Result<()> {
    use futures::TryStreamExt as _;
    let claims: Api<PersistentVolumeClaim> = Api::all(client.clone());
    let list = claims.list(&ListParams::default()).await?;
    let version = list.metadata.resource_version.unwrap_or_default();
    for claim in list.items {
        fulfil(client, folder, &claim).await?;
    }
    let changes = claims.watch(&WatchParams::default(), &version).await?;
    let mut changes = std::pin::pin!(changes);
    while let Some(change) = changes.try_next().await? {
        if let WatchEvent::Added(claim) | WatchEvent::Modified(claim) = change {
            fulfil(client, folder, &claim).await?;
        }
    }
    Ok(())
}

/// Makes the volume of a claim that waits for one of ours.
async fn fulfil(client: &Client, folder: &Path, claim: &PersistentVolumeClaim) -> Result<()> {
    const KEY: &str = "volume.kubernetes.io/storage-provisioner";
    let metadata = &claim.metadata;
    let ours = metadata
        .annotations
        .iter()
        .flatten()
        .any(|(key, value)| key == KEY && value == PROVISIONER);
    let Some(spec) = claim
        .spec
        .as_ref()
        .filter(|spec| ours && spec.volume_name.is_none())
    else {
        return Ok(());
    };
    let uid = metadata.uid.clone().context("a claim has an identity")?;
    let name = format!("pvc-{uid}");
    let path = folder.join(&name);
    fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    let volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "annotations": { "pv.kubernetes.io/provisioned-by": PROVISIONER },
        },
        "spec": {
            "capacity": spec.resources.as_ref().and_then(|resources| resources.requests.clone()),
            "accessModes": spec.access_modes,
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata.namespace,
                "name": metadata.name,
                "uid": uid,
            },
            "local": { "path": path },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{
                "matchExpressions": [
                    { "key": "kubernetes.io/os", "operator": "In", "values": ["linux"] },
                ],
            }] } },
        },
    });
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    volumes
        .patch(
            &name,
            &PatchParams::apply("testbed").force(),
            &Patch::Apply(&volume),
        )
        .await
        .with_context(|| format!("creating {name}"))?;
    Ok(())
}

/// Removes volumes whose claims are gone, until the watch ends.
async fn serve_volumes(client: &Client) -> Result<()> {
    use futures::TryStreamExt as _;
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let list = volumes.list(&ListParams::default()).await?;
    let version = list.metadata.resource_version.unwrap_or_default();
    for volume in list.items {
        discard(&volumes, &volume).await?;
    }
    let changes = volumes.watch(&WatchParams::default(), &version).await?;
    let mut changes = std::pin::pin!(changes);
    while let Some(change) = changes.try_next().await? {
        if let WatchEvent::Added(volume) | WatchEvent::Modified(volume) = change {
            discard(&volumes, &volume).await?;
        }
    }
    Ok(())
}

async fn discard(volumes: &Api<PersistentVolume>, volume: &PersistentVolume) -> Result<()> {
    let phase = volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let spec = volume.spec.as_ref();
    let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let class = spec.and_then(|spec| spec.storage_class_name.as_deref());
    if phase != Some("Released") || policy != Some("Delete") || class != Some(CLASS) {
        return Ok(());
    }
    if let Some(local) = spec.and_then(|spec| spec.local.as_ref())
        && Path::new(&local.path).exists()
    {
        fs::remove_dir_all(&local.path).with_context(|| format!("removing {}", local.path))?;
    }
    let name = volume
        .metadata
        .name
        .as_deref()
        .context("a volume has a name")?;
    match volumes.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).with_context(|| format!("deleting {name}")),
    }
}
