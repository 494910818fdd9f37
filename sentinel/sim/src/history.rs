//! The true histories of the data: who holds what, whatever the servers say of themselves.
//!
//! A history is a tree of branches. A server that becomes master begins a branch where its data ends;
//! so does one that restarts and no longer knows the name of its history. Where a server's data ends
//! is a [`Place`]: it holds everything on the way from the root to there.

/// A branch of the tree; its number is also the replication id servers name it by.
pub(crate) type Branch = u32;

/// Where a server's data ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Place {
    /// The branch.
    pub(crate) branch: Branch,
    /// Bytes, in the branch's own numbering.
    pub(crate) offset: u64,
}

/// All branches there are, and the writes clients know to be on them.
#[derive(Debug, Default)]
pub(crate) struct History {
    branches: Vec<Origin>,
}

#[derive(Debug)]
struct Origin {
    parent: Option<Place>,
    /// With which offset it begins.
    base: u64,
    /// Where its first write ends, if any was made.
    written: Option<u64>,
    /// Ends of acknowledged writes, rising but for a few neighbours.
    acknowledged: Vec<u64>,
    /// Acknowledged writes that end behind this were given up for a reason that was checked.
    excused: Option<u64>,
}

impl History {
    /// Begins a branch behind `parent`, or one without a past, whose offsets count from `base`.
    pub(crate) fn branch(&mut self, parent: Option<Place>, base: u64) -> Branch {
        self.branches.push(Origin {
            parent,
            base,
            written: None,
            acknowledged: Vec::new(),
            excused: None,
        });
        Branch::try_from(self.branches.len() - 1).unwrap_or(Branch::MAX)
    }

    /// How much of `branch` somebody at `place` holds, if anything of it is in its past.
    #[must_use]
    pub(crate) fn held(&self, place: Place, branch: Branch) -> Option<u64> {
        let mut at = place;
        loop {
            if at.branch == branch {
                return Some(at.offset);
            }
            at = self.branches[at.branch as usize].parent?;
        }
    }

    /// How many bytes somebody at `place` holds.
    #[must_use]
    pub(crate) fn depth(&self, place: Place) -> u64 {
        let mut depth = 0;
        let mut at = Some(place);
        while let Some(held) = at {
            let origin = &self.branches[held.branch as usize];
            depth += held.offset.saturating_sub(origin.base);
            at = origin.parent;
        }
        depth
    }

    /// A write was made that ends at `place`.
    pub(crate) fn write(&mut self, place: Place) {
        let written = &mut self.branches[place.branch as usize].written;
        *written = Some(written.map_or(place.offset, |first| first.min(place.offset)));
    }

    /// Whether somebody at `place` holds any write.
    #[must_use]
    pub(crate) fn has_writes(&self, place: Place) -> bool {
        let mut at = Some(place);
        while let Some(held) = at {
            let origin = &self.branches[held.branch as usize];
            if origin.written.is_some_and(|first| first <= held.offset) {
                return true;
            }
            at = origin.parent;
        }
        false
    }

    /// A client was told that its write, which ends at `place`, is done.
    pub(crate) fn acknowledge(&mut self, place: Place) {
        self.branches[place.branch as usize]
            .acknowledged
            .push(place.offset);
    }

    /// Whether a write that ends at `place` is given up already.
    #[must_use]
    pub(crate) fn is_given_up(&self, place: Place) -> bool {
        self.branches[place.branch as usize].is_excused(place.offset)
    }

    /// Acknowledged writes until now.
    #[must_use]
    pub(crate) fn acknowledged(&self) -> usize {
        let count = |origin: &Origin| origin.acknowledged.len();
        self.branches.iter().map(count).sum()
    }

    /// Acknowledged writes that were given up, whoever holds them.
    #[must_use]
    pub(crate) fn given_up(&self) -> usize {
        let count = |origin: &Origin| {
            let ends = origin.acknowledged.iter();
            ends.filter(|end| origin.is_excused(**end)).count()
        };
        self.branches.iter().map(count).sum()
    }

    /// Whether somebody at `witness` holds an acknowledged write, not given up before, that somebody
    /// at `place` lacks; says which.
    #[must_use]
    pub(crate) fn lacks(&self, place: Place, witness: Place) -> Option<Place> {
        let mut at = Some(witness);
        while let Some(held) = at {
            let origin = &self.branches[held.branch as usize];
            let has = self.held(place, held.branch);
            if has.is_some_and(|has| has >= held.offset) {
                return None;
            }
            let from = has.unwrap_or(0);
            let lost = origin
                .acknowledged
                .iter()
                .rev()
                .find(|end| **end > from && **end <= held.offset && !origin.is_excused(**end));
            if let Some(offset) = lost {
                let branch = held.branch;
                return Some(Place {
                    branch,
                    offset: *offset,
                });
            }
            at = origin.parent;
        }
        None
    }

    /// Whatever somebody at `place` lacks is given up from now on; says how many writes these are.
    pub(crate) fn give_up(&mut self, place: Place) -> usize {
        let mut lost = 0;
        for branch in 0..self.branches.len() {
            let number = Branch::try_from(branch).unwrap_or(Branch::MAX);
            let held = self.held(place, number);
            let origin = &mut self.branches[branch];
            let behind = |end: &&u64| held.is_none_or(|held| **end > held);
            let fresh = origin.acknowledged.iter().filter(behind);
            lost += fresh.filter(|end| !origin.is_excused(**end)).count();
            // What is still to be written behind its own end is not lost.
            if number == place.branch {
                continue;
            }
            let from = held.unwrap_or(0);
            origin.excused = Some(origin.excused.map_or(from, |earlier| earlier.min(from)));
        }
        lost
    }

    /// What somebody at `place` lacks of `branch` is given up, now and from now on.
    pub(crate) fn forsake(&mut self, branch: Branch, place: Place) {
        if branch == place.branch {
            return;
        }
        let from = self.held(place, branch).unwrap_or(0);
        let origin = &mut self.branches[branch as usize];
        origin.excused = Some(origin.excused.map_or(from, |earlier| earlier.min(from)));
    }

    /// An acknowledged write that somebody at `place` lacks although it was never given up.
    #[must_use]
    pub(crate) fn missing(&self, place: Place) -> Option<Place> {
        (0..self.branches.len()).find_map(|branch| {
            let number = Branch::try_from(branch).unwrap_or(Branch::MAX);
            let held = self.held(place, number);
            let origin = &self.branches[branch];
            let lost = origin
                .acknowledged
                .iter()
                .find(|end| held.is_none_or(|held| **end > held) && !origin.is_excused(**end))?;
            Some(Place {
                branch: number,
                offset: *lost,
            })
        })
    }
}

impl Origin {
    fn is_excused(&self, end: u64) -> bool {
        self.excused.is_some_and(|from| end > from)
    }
}
