//! Platforms as people write them, this machine's, and which image fits which.

use super::Platform;

/// The platform of this machine, in the words that images use (those of the Go toolchain).
pub fn this_machine() -> Platform {
    let is_little_endian = cfg!(target_endian = "little");
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if is_little_endian => "ppc64le",
        "powerpc64" => "ppc64",
        "mips64" if is_little_endian => "mips64le",
        "mips" if is_little_endian => "mipsle",
        "loongarch64" => "loong64",
        same => same,
    };
    let os = match std::env::consts::OS {
        "macos" => "darwin",
        same => same,
    };
    Platform { os: os.into(), architecture: architecture.into(), ..Platform::default() }
}

/// A text that is no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a platform: expected OS/ARCH or OS/ARCH/VARIANT, such as linux/amd64 or linux/arm/v7")]
pub struct PlatformError {
    /// The text.
    pub text: String,
}

/// Parses `OS/ARCH[/VARIANT]`.
pub fn parse(text: &str) -> Result<Platform, PlatformError> {
    let parts: Vec<&str> = text.split('/').collect();
    let (os, architecture, variant) = match parts[..] {
        [os, architecture] => (os, architecture, ""),
        [os, architecture, variant] if !variant.is_empty() => (os, architecture, variant),
        _ => return Err(PlatformError { text: text.into() }),
    };
    if os.is_empty() || architecture.is_empty() {
        return Err(PlatformError { text: text.into() });
    }
    Ok(Platform { os: os.into(), architecture: architecture.into(), variant: variant.into(), ..Platform::default() })
}

/// How well an image for `found` fits where `wanted` is asked for: 0 is exact, more is worse, none is not at all.
///
/// Variants are levels, of which each can do what the lower ones can: an image for `arm/v6` runs on `arm/v7`. An unnamed
/// variant is the one that the Go toolchain assumes. Versions and features of the operating system are not compared.
pub fn fit(wanted: &Platform, found: &Platform) -> Option<u32> {
    if (&wanted.os, &wanted.architecture) != (&found.os, &found.architecture) {
        return None;
    }
    let (wanted, found) = (variant(wanted), variant(found));
    match (level(wanted), level(found)) {
        _ if wanted == found => Some(0),
        (Some(wanted), Some(found)) => wanted.checked_sub(found),
        _ => None,
    }
}

fn variant(platform: &Platform) -> &str {
    match (platform.architecture.as_str(), platform.variant.as_str()) {
        ("amd64", "") => "v1",
        ("arm", "") => "v7",
        ("arm64", "") => "v8",
        (_, variant) => variant,
    }
}

fn level(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.parse().ok()
}

/// Whether a manifest in an index is BuildKit's attestation of another, which is for no platform.
pub fn is_attestation(platform: &Platform) -> bool {
    platform.os == "unknown" && platform.architecture == "unknown"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(wanted: &str, found: &str) -> Option<u32> {
        fit(&parse(wanted).unwrap(), &parse(found).unwrap())
    }

    #[test]
    fn a_platform_fits_itself_and_higher_levels_of_its_kind() {
        assert_eq!(fits("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(fits("linux/amd64", "linux/amd64/v1"), Some(0));
        assert_eq!(fits("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(fits("linux/arm", "linux/arm/v7"), Some(0));
        assert_eq!(fits("linux/arm", "linux/arm/v6"), Some(1));
        assert_eq!(fits("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(fits("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(fits("linux/amd64", "windows/amd64"), None);
        assert_eq!(fits("linux/amd64", "linux/arm64"), None);
        assert_eq!(fits("linux/x", "linux/x/odd"), None);
    }

    #[test]
    fn texts_that_are_no_platform_are_refused() {
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/", "linux/arm/v7/x"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("linux/arm/v7").unwrap().to_string(), "linux/arm/v7");
    }

    #[test]
    fn this_machine_has_a_platform_that_can_be_parsed() {
        assert_eq!(parse(&this_machine().to_string()).unwrap(), this_machine());
    }
}
