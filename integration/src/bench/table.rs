//! Times, their percentiles, and the table they are printed in.

use std::time::Duration;

use anyhow::Result;

use crate::progress;

/// Times of one kind.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    name: String,
    milliseconds: Vec<u64>,
}

/// The table's first two lines.
pub(super) fn head() -> String {
    "\n| what, in ms | n | min | p50 | p95 | max |\n|---|---|---|---|---|---|".to_owned()
}

impl Sample {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            milliseconds: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, time: Duration) -> Result<()> {
        self.milliseconds.push(u64::try_from(time.as_millis())?);
        Ok(())
    }

    /// How many times there are.
    pub(super) fn count(&self) -> usize {
        self.milliseconds.len()
    }

    /// The smallest time that at least `percent` of all do not exceed: by nearest rank.
    pub(super) fn percentile(&self, percent: usize) -> Option<u64> {
        let mut sorted = self.milliseconds.clone();
        sorted.sort_unstable();
        let rank = sorted.len().saturating_mul(percent).div_ceil(100).max(1);
        sorted.get(rank.saturating_sub(1)).copied()
    }

    /// Prints the table's line.
    pub(super) fn print(&self) {
        let cells: Vec<String> = [0, 50, 95, 100]
            .into_iter()
            .map(|percent| {
                self.percentile(percent)
                    .map_or_else(|| "–".to_owned(), |time| time.to_string())
            })
            .collect();
        progress::print(&format!(
            "| {} | {} | {} |",
            self.name,
            self.milliseconds.len(),
            cells.join(" | ")
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let mut sample = Sample::new("twenty");
        assert_eq!(sample.percentile(50), None);
        for number in (1..=20).rev() {
            sample.add(Duration::from_millis(number)).unwrap();
        }
        let found = [0, 50, 95, 100].map(|percent| sample.percentile(percent));
        assert_eq!(found, [Some(1), Some(10), Some(19), Some(20)]);
    }
}
