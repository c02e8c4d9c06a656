//! The story of a run: what was asked, what was done, what failed, what changed.
