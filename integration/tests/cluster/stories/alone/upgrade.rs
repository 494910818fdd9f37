//! Another version of the operator: nobody is restarted for it.

use anyhow::{Result, ensure};
use integration::scene::PodView;
use serde_json::json;

use crate::{
    bed::{Bed, SETTLE},
    stories::Group,
};

/// A default image that an older operator did not know.
const NEWER: &str = "docker.io/pipelineoperator/pipelineoperator:newer";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "told in the long form"]
async fn an_upgrade_of_the_operator_restarts_nobody() -> Result<()> {
    let bed = Bed::alone().await?;
    let group = Group::whole(&bed, "upgrade", &json!({})).await?;
    let pods = async || -> Result<Vec<PodView>> {
        Ok([group.data().await?, group.dukes().await?].concat())
    };
    let before = pods().await?;
    bed.with_operator_variable("DUKE_IMAGE", NEWER, async || {
        bed.operator_leads().await?;
        // A person is told that there is something newer, and when it comes into force.
        group.says(&["UpdateAvailable"], SETTLE).await?;
        bed.window().await?;
        let after = pods().await?;
        ensure!(before == after, "{before:?}\nbecame\n{after:?}");
        Ok(())
    })
    .await?;
    group.settled().await?;
    ensure!(before == pods().await?, "the way back restarted somebody");
    group.end().await
}
