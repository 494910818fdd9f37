//! Somebody changes what the operator wrote, at every write: told, not fought.

use anyhow::{Result, ensure};
use integration::scene::patiently;
use serde_json::json;

use crate::{
    bed::{Bed, SETTLE},
    stories::Group,
};

/// Stamps a label of ours at the data pods' StatefulSet with another number at every write.
const STAMPER: &str = r#"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: { name: stamper }
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: stamped } }
    resourceRules:
      - { apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [statefulsets] }
  variables:
    - name: number
      expression: "oldObject == null ? 0 : int(oldObject.metadata.resourceVersion)"
  mutations:
    - patchType: JSONPatch
      jsonPatch:
        expression: >
          [JSONPatch{op: "add",
                     path: "/metadata/labels/" + jsonpatch.escapeKey("app.kubernetes.io/name"),
                     value: "stamped-" + string(variables.number)}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: { name: stamper }
spec: { policyName: stamper }
"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told in the long form"]
async fn a_webhook_that_stamps_is_told_of_and_not_fought() -> Result<()> {
    let bed = Bed::get().await?;
    let group = Group::whole(&bed, "stamped", &json!({})).await?;
    group.scene.apply(STAMPER).await?;
    let outcome = stamped(&bed, &group).await;
    let kinds = ["mutatingadmissionpolicybinding", "mutatingadmissionpolicy"];
    for kind in kinds {
        bed.kubectl(&["delete", kind, "stamper"]).await?;
    }
    outcome?;
    group.settled().await?;
    group.end().await
}

async fn stamped(bed: &Bed, group: &Group<'_>) -> Result<()> {
    let before = group.data().await?;
    let written = || bed.written(&group.scene, "statefulsets", "pipeline-demo");
    let counted = written()?;
    let resources = json!({ "requests": { "cpu": "11m", "memory": "33Mi" } });
    let spec = json!({ "pipeline": { "resources": resources } });
    group.change(&spec).await?;
    patiently("the roll is done all the same", 2 * SETTLE, async || {
        let now = group.data().await?;
        let is_new = |uid: &str| before.iter().all(|old| old.uid != uid);
        let new = now
            .iter()
            .filter(|pod| pod.ready && is_new(&pod.uid))
            .count();
        ensure!(new == 3, "{new} pods are new: {}", group.said().await?);
        Ok(())
    })
    .await?;
    group
        .says(&["pipeline-demo", "StatefulSet"], SETTLE)
        .await?;
    let during = written()?.saturating_sub(counted);
    ensure!(
        during <= 10,
        "{during} writes of the StatefulSet for one change"
    );
    let counted = written()?;
    bed.window().await?;
    let fought = written()?.saturating_sub(counted);
    ensure!(
        fought <= 1,
        "{fought} writes of the StatefulSet in half a minute"
    );
    Ok(())
}
