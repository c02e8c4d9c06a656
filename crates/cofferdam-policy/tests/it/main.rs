//! Policy files from their text to decisions.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
