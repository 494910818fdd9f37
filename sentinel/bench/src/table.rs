//! Numbers as people read them: medians, spreads, and tables in Markdown.

use std::time::Duration;

use crate::say;

/// Milliseconds, with as many digits as mean something.
pub(crate) fn millis(span: Duration) -> String {
    let millis = span.as_secs_f64() * 1000.0;
    if millis < 10.0 {
        format!("{millis:.1}")
    } else {
        format!("{millis:.0}")
    }
}

/// The middle of them; of an even number the lower of the two.
pub(crate) fn median<T: Copy + Ord>(all: &[T]) -> Option<T> {
    share(all, 50)
}

/// The value that `percent` of all do not exceed.
pub(crate) fn share<T: Copy + Ord>(all: &[T], percent: usize) -> Option<T> {
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The median and, in parentheses, the greatest, in milliseconds; of those that are there at all.
pub(crate) fn spread(all: &[Option<Duration>]) -> String {
    let there: Vec<Duration> = all.iter().copied().flatten().collect();
    let missing = all.len() - there.len();
    let Some(middle) = median(&there) else {
        return "never".to_owned();
    };
    let most = there.iter().max().copied().unwrap_or_default();
    let never = if missing == 0 {
        String::new()
    } else {
        format!(", {missing} of {} never", all.len())
    };
    format!("{} ({}){never}", millis(middle), millis(most))
}

/// A table, printed row by row as it comes to be.
#[derive(Debug)]
pub(crate) struct Table {
    columns: usize,
}

impl Table {
    /// Prints the head.
    pub(crate) fn new(title: &str, head: &[&str]) -> Self {
        say(&format!("\n{title}\n\n| {} |", head.join(" | ")));
        say(&format!("|{}", "---|".repeat(head.len())));
        Self {
            columns: head.len(),
        }
    }

    /// Prints a row.
    pub(crate) fn row(&self, cells: &[String]) {
        debug_assert_eq!(cells.len(), self.columns);
        say(&format!("| {} |", cells.join(" | ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_taken_from_the_sorted() {
        let all = [9, 1, 5, 3, 7];
        assert_eq!(median(&all), Some(5));
        assert_eq!(share(&all, 99), Some(9));
        assert_eq!(share(&all, 1), Some(1));
        assert_eq!(median::<u64>(&[]), None);
        assert_eq!(median(&[2, 1]), Some(1));
    }

    #[test]
    fn what_never_came_is_said() {
        let ms = |millis| Some(Duration::from_millis(millis));
        assert_eq!(spread(&[ms(20), ms(1500), ms(30)]), "30 (1500)");
        assert_eq!(spread(&[ms(20), None]), "20 (20), 1 of 2 never");
        assert_eq!(spread(&[None, None]), "never");
        assert_eq!(millis(Duration::from_micros(1_250)), "1.2");
    }
}
