//! Duke's tests beside a stock sentinel, once for every other release of it than the machine's own.

use anyhow::Result;
use tokio::process::Command;

use crate::{
    debian::stock::{STOCK, Stock},
    place, process, progress,
};

/// Tells the tests where the stock programs are.
const FOLDER: &str = "DUKE_STOCK";

/// Cargo's arguments. Of the whole workspace, so that what the suite `test` has built serves here too: one
/// package alone is built with fewer features, all anew. The engine's own tests start no stock program.
const TESTS: &[&str] = &[
    "test",
    "--workspace",
    "--exclude",
    "duke-core",
    "--locked",
    "--test",
    "open",
];

/// Runs the tests with each of these releases, all when none is named, and says whether all passed.
///
/// # Errors
/// When a release is not known, or cannot be fetched, or cargo cannot be started.
pub async fn run(names: &[String]) -> Result<bool> {
    let chosen: Vec<Stock> = if names.is_empty() {
        STOCK.to_vec()
    } else {
        names
            .iter()
            .map(|name| Stock::named(name))
            .collect::<Result<_>>()?
    };
    let mut passed = true;
    for stock in chosen {
        let unpacked = stock.ensure().await?;
        progress::say(&format!("Duke beside {}", stock.name));
        let status = process::by_hand(&mut Command::new("cargo"))
            .args(TESTS)
            .env(FOLDER, &unpacked.programs)
            .current_dir(place::workspace())
            .status()
            .await?;
        passed &= status.success();
    }
    Ok(passed)
}
