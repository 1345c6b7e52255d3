//! Figures as people read them: three digits and a unit.

/// A span in milliseconds. Zero is nothing.
pub(super) fn millis(span: u64) -> String {
    if span == 0 { "-".to_owned() } else { micros(span.saturating_mul(1_000)) }
}

/// A span in microseconds. Zero is nothing.
pub(super) fn micros(span: u64) -> String {
    match span {
        0 => "-".to_owned(),
        1..1_000 => format!("{span}µs"),
        1_000..10_000 => format!("{}.{}ms", span / 1_000, span % 1_000 / 100),
        10_000..1_000_000 => format!("{}ms", span / 1_000),
        1_000_000..10_000_000 => format!("{}.{}s", span / 1_000_000, span % 1_000_000 / 100_000),
        10_000_000..120_000_000 => format!("{}s", span / 1_000_000),
        120_000_000..7_200_000_000 => format!("{}min", span / 60_000_000),
        _ => format!("{}h", span / 3_600_000_000),
    }
}

/// Memory.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count}B"),
        1_024..1_048_576 => format!("{}KiB", count / 1_024),
        1_048_576..1_073_741_824 => format!("{}MiB", count / 1_048_576),
        _ => format!("{}GiB", count / 1_073_741_824),
    }
}

/// Time of day in UTC of Unix milliseconds: `10:00:00.000`.
pub(super) fn clock(unix_millis: u64) -> String {
    let (seconds, rest) = (unix_millis / 1_000, unix_millis % 1_000);
    format!("{:02}:{:02}:{:02}.{rest:03}", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_short() {
        let spans = [(0, "-"), (7, "7µs"), (1_250, "1.2ms"), (12_300, "12ms"), (2_500_000, "2.5s"), (60_000_000, "60s")];
        for (span, text) in spans.into_iter().chain([(600_000_000, "10min"), (u64::MAX, "5124095576h")]) {
            assert_eq!(micros(span), text);
        }
        assert_eq!((millis(0), millis(1)), ("-".into(), "1.0ms".into()));
        let sizes = [(5, "5B"), (2_048, "2KiB"), (25_165_824, "24MiB"), (1 << 31, "2GiB")];
        for (count, text) in sizes {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(clock(super::super::sample::NOW + 61_005), "10:01:01.005");
    }
}
