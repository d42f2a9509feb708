//! Sizes on the command line: bytes, with `kB`, `MB`, `GB` or `KiB`, `MiB`, `GiB`.

/// A number of bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong =
        || "read the size: use bytes with kB, MB, GB, KiB, MiB or GiB, such as 128MB".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().map_err(|_| wrong())?;
    let unit = match text[end..].trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

/// A number of bytes for a person.
pub(crate) fn shown(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.iter().find(|(unit, _)| bytes >= *unit) {
        // Two digits are enough of a size.
        Some((unit, name)) if bytes < unit * 10 => {
            format!("{}.{} {name}", bytes / unit, bytes % unit / (unit / 10))
        }
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_show() {
        for (text, bytes, says) in [
            ("512", 512, "512 B"),
            ("128MB", 128_000_000, "128 MB"),
            ("128 MiB", 128 << 20, "134 MB"),
            ("1gb", 1_000_000_000, "1.0 GB"),
            ("1500k", 1_500_000, "1.5 MB"),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(shown(bytes), says);
        }
        for text in ["", "MB", "-1", "1.5MB", "5 apples", "99999999999999999999", "99999999999GB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
