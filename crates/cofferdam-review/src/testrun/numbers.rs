//! Counts and times as the frameworks write them.

/// A list of counts (`3 failed, 10 passed`) with what each counts. `None` where anything in it is not that.
pub(super) fn counts<'a>(list: &'a str, separator: &'a str) -> Option<Vec<(u64, &'a str)>> {
    list.split(separator).map(counted).collect()
}

/// One count and what it counts.
pub(super) fn counted(item: &str) -> Option<(u64, &str)> {
    let (number, what) = item.split_once(' ')?;
    Some((number_of(number)?, what))
}

/// A decimal number without sign, of a plausible size: sums cannot overflow.
pub(super) fn number_of(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Seconds with a fraction (`0.12`), as milliseconds.
pub(super) fn seconds(text: &str) -> Option<u64> {
    decimal(text, 1000.0)
}

/// Milliseconds with a fraction (`12.5`).
pub(super) fn milliseconds(text: &str) -> Option<u64> {
    decimal(text, 1.0)
}

fn decimal(text: &str, factor: f64) -> Option<u64> {
    let plain = !text.is_empty() && text.len() <= 24 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value: f64 = if plain { text.parse().ok()? } else { return None };
    let scaled = (value * factor).round();
    // Below 2^53 the conversion is exact; 31 years are enough for tests.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 ≤ scaled ≤ 10^12")]
    (scaled <= 1e12).then_some(scaled as u64)
}

/// A time with its unit (`12ms`, `1.2s`, `3m`), as mocha, vitest and jest print it.
pub(super) fn duration(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = text[..text.len() - unit.len()].trim();
    match unit.trim() {
        "ms" => milliseconds(number),
        "s" => seconds(number),
        "m" | "min" => decimal(number, 60_000.0),
        "h" => decimal(number, 3_600_000.0),
        _ => None,
    }
}

/// The sum of two times of which either may be unknown.
pub(super) fn plus(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_plain_or_nothing() {
        assert_eq!(counts("3 failed, 10 passed", ", "), Some(vec![(3, "failed"), (10, "passed")]));
        for wrong in ["", "-3 failed", "+3 failed", "3failed", "99999999999 failed", "3 failed,10 passed x, y"] {
            assert_eq!(counts(wrong, ", "), None, "{wrong}");
        }
        assert_eq!((seconds("0.12"), seconds("1e3"), seconds("nan"), seconds(".")), (Some(120), None, None, None));
        assert_eq!(
            (duration("30ms"), duration("1.5 s"), duration("2m"), duration("2y")),
            (Some(30), Some(1500), Some(120_000), None)
        );
    }
}
