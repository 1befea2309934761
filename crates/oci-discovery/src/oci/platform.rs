//! Platforms as text, the platform of this machine, and the images that fit a platform.

use super::Platform;

/// The platform of this machine, in the terms of images, which are those of the Go toolchain (image-spec, image-index,
/// `platform`).
///
/// ```
/// use oci_discovery::oci::platform::{fit, this_machine};
///
/// assert_eq!(fit(&this_machine(), &this_machine()), Some(0));
/// ```
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

/// A text that is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a platform: expected OS/ARCH or OS/ARCH/VARIANT, such as linux/amd64 or linux/arm/v7")]
pub struct PlatformError {
    /// The text.
    pub text: String,
}

/// Parses `OS/ARCH[/VARIANT]`.
///
/// ```
/// use oci_discovery::oci::platform::parse;
///
/// assert_eq!(parse("linux/arm/v7")?.variant, "v7");
/// assert!(parse("linux").is_err());
/// # Ok::<(), oci_discovery::oci::platform::PlatformError>(())
/// ```
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

/// How well an image for `found` fits the platform `wanted`: 0 is exact, a higher number is worse; None is no fit.
///
/// Variants are levels, and each level includes the lower ones: an image for `arm/v6` runs on `arm/v7`. A missing
/// variant is the default of the Go toolchain. Versions and features of the operating system are not compared.
///
/// ```
/// use oci_discovery::oci::platform::{fit, parse};
///
/// let (v6, v7) = (parse("linux/arm/v6")?, parse("linux/arm")?);
/// assert_eq!((fit(&v7, &v7), fit(&v7, &v6), fit(&v6, &v7)), (Some(0), Some(1), None));
/// # Ok::<(), oci_discovery::oci::platform::PlatformError>(())
/// ```
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

/// Whether a manifest in an index is BuildKit's attestation of another manifest.
///
/// ```
/// use oci_discovery::oci::platform::{is_attestation, parse};
///
/// assert!(is_attestation(&parse("unknown/unknown")?));
/// # Ok::<(), oci_discovery::oci::platform::PlatformError>(())
/// ```
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
