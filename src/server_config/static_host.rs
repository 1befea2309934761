//! What static hosts accept: the one table of their limits, so that a site that a host refuses is refused before an upload.
//!
//! The numbers are those of the hosts' documentation in 2026. A limit that depends on a plan is that of the largest plan without a
//! contract.

use std::fmt::Display;

use crate::site::SitePath;
use crate::store::ListedObject;

/// A host for static files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StaticHost {
    /// GitHub Pages: no headers.
    GithubPages,
    /// GitLab Pages on gitlab.com: no headers.
    GitlabPages,
    /// Cloudflare Pages.
    CloudflarePages,
    /// Netlify.
    Netlify,
    /// Azure Static Web Apps.
    AzureStaticWebApps,
    /// Firebase Hosting.
    Firebase,
    /// Vercel.
    Vercel,
}

/// The most that a host accepts. None: no limit is documented.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    /// Bytes of a file.
    file: Option<u64>,
    files: Option<u64>,
    /// Bytes of all files.
    site: Option<u64>,
    /// Rules in the configuration.
    rules: Option<u64>,
    /// Characters in a line of the configuration.
    line: Option<u64>,
    /// Bytes of the configuration.
    configuration: Option<u64>,
}

/// A limit of a host that a site does not keep to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{host} does not accept {object}: expected {expected}, found {found}; {advice}")]
pub struct LimitExceeded {
    pub host: StaticHost,
    /// A path, or what else is too large.
    pub object: String,
    pub expected: String,
    pub found: String,
    pub advice: &'static str,
}

/// The files that would be uploaded.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    files: u64,
    bytes: u64,
    largest: Option<(SitePath, u64)>,
}

impl Usage {
    pub fn add(&mut self, object: &ListedObject) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(object.stat.size);
        if self.largest.as_ref().is_none_or(|(_, size)| object.stat.size > *size) {
            self.largest = Some((object.path.clone(), object.stat.size));
        }
    }
}

impl Display for StaticHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            StaticHost::GithubPages => "GitHub Pages",
            StaticHost::GitlabPages => "GitLab Pages",
            StaticHost::CloudflarePages => "Cloudflare Pages",
            StaticHost::Netlify => "Netlify",
            StaticHost::AzureStaticWebApps => "Azure Static Web Apps",
            StaticHost::Firebase => "Firebase Hosting",
            StaticHost::Vercel => "Vercel",
        })
    }
}

impl StaticHost {
    fn limits(self) -> Limits {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        let none = Limits::default();
        match self {
            StaticHost::GithubPages => Limits { file: Some(100 * MIB), site: Some(GIB), ..none },
            StaticHost::GitlabPages => Limits { files: Some(200_000), site: Some(GIB), ..none },
            StaticHost::CloudflarePages => {
                Limits { file: Some(25 * MIB), files: Some(20_000), rules: Some(100), line: Some(2000), ..none }
            }
            StaticHost::Netlify => none,
            StaticHost::AzureStaticWebApps => Limits { site: Some(500 * MIB), configuration: Some(20 * 1024), ..none },
            StaticHost::Firebase => Limits { file: Some(2 * GIB), ..none },
            StaticHost::Vercel => Limits { files: Some(15_000), site: Some(GIB), rules: Some(2048), ..none },
        }
    }

    /// Whether a site can choose the headers of its responses.
    pub fn has_headers(self) -> bool {
        !matches!(self, StaticHost::GithubPages | StaticHost::GitlabPages)
    }

    /// Whether the ending of a file's name alone decides its media type.
    pub fn types_by_ending(self) -> bool {
        !self.has_headers() || self == StaticHost::AzureStaticWebApps
    }

    /// The limits that these files exceed.
    pub fn check_files(self, usage: &Usage) -> Vec<LimitExceeded> {
        let limits = self.limits();
        let (largest, size) =
            usage.largest.clone().map_or(("a file".into(), 0), |(path, size)| (path.to_string(), size));
        let blobs = "keep the blobs at another origin (--cas-template with the URL of a bucket), or use another host";
        let fewer = "publish fewer images to this site, or use another host";
        let checks = [
            (largest, size, limits.file, "bytes", blobs),
            ("the site".into(), usage.files, limits.files, "files", fewer),
            ("the site".into(), usage.bytes, limits.site, "bytes", blobs),
        ];
        self.check(checks)
    }

    /// The limits that a configuration with this number of rules exceeds.
    pub fn check_configuration(self, rules: usize, text: &str) -> Vec<LimitExceeded> {
        let limits = self.limits();
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let longest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
        let fewer = "publish images whose manifests have fewer different media types, or fewer images, to this site, or use \
                     another host";
        let shorter = "choose shorter names and templates, or use another host";
        let checks = [
            ("the list of headers".into(), number(rules), limits.rules, "rules", fewer),
            ("a line of the list of headers".into(), number(longest), limits.line, "characters", shorter),
            ("the configuration".into(), number(text.len()), limits.configuration, "bytes", fewer),
        ];
        self.check(checks)
    }

    fn check<const N: usize>(
        self,
        checks: [(String, u64, Option<u64>, &'static str, &'static str); N],
    ) -> Vec<LimitExceeded> {
        let exceeded = checks.into_iter().filter_map(|(object, found, limit, unit, advice)| {
            let limit = limit.filter(|limit| found > *limit)?;
            let (expected, found) = (format!("at most {limit} {unit}"), format!("{found} {unit}"));
            Some(LimitExceeded { host: self, object, expected, found, advice })
        });
        exceeded.collect()
    }
}
