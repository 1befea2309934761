//! The settings of a site, which `ocisite.json` stores.

use serde::{Deserialize, Serialize};

use oci_discovery::template::Template;

/// The settings that decide the places of all objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The hosts whose image names the site serves, sorted.
    pub hosts: Vec<String>,
    /// The template of the ref engine (protocol `oci-index-template-v1`), over `name`, `host`, `path` and
    /// `fragment`.
    pub index_template: Template,
    /// The template of the CAS engine (protocol `oci-cas-template-v1`), over the variables of the digest and of the
    /// name. A publish expands the name's.
    pub cas_template: Template,
    /// Other origins (`https://cdn.example.net`) that hold a part of the site, sorted.
    pub origins: Vec<String>,
    pub views: Views,
}

/// The optional views of a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Views {
    /// The pull side of the distribution API under `v2/` (see [`super::registry`]).
    #[serde(default)]
    pub registry: bool,
    /// Pages for people, and JSON for programs (see [`super::catalogue`]).
    #[serde(default)]
    pub catalogue: bool,
}

impl Views {
    /// Whether there are no views.
    pub fn is_none(&self) -> bool {
        *self == Views::default()
    }

    /// The views of either.
    pub fn union(self, other: Views) -> Views {
        Views { registry: self.registry || other.registry, catalogue: self.catalogue || other.catalogue }
    }
}

/// A pair of templates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// All images share one pool of blobs.
    #[default]
    Cas,
    /// Each image is an OCI layout on the server, too.
    Layout,
    /// Blobs have the paths of the registry view.
    Registry,
}

impl Preset {
    /// The preset's index template.
    pub fn index_template(self) -> &'static str {
        match self {
            Preset::Cas | Preset::Registry => "https://{host}/oci-index/{+path}",
            Preset::Layout => "https://{host}/oci-image/{+path}/index.json",
        }
    }

    /// The preset's CAS template.
    pub fn cas_template(self) -> &'static str {
        match self {
            Preset::Cas => "/oci-cas/{algorithm}/{encoded:2}/{encoded}",
            Preset::Layout => "/oci-image/{+path}/blobs/{algorithm}/{encoded}",
            Preset::Registry => "/v2/{+path}/blobs/{digest}",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::SiteMap;

    #[test]
    fn every_preset_is_a_valid_pair_of_templates() {
        for preset in [Preset::Cas, Preset::Layout, Preset::Registry] {
            let settings = Settings {
                hosts: vec!["example.com".into()],
                index_template: Template::parse(preset.index_template()).unwrap(),
                cas_template: Template::parse(preset.cas_template()).unwrap(),
                origins: vec![],
                views: Views::default(),
            };
            SiteMap::new(settings).unwrap();
        }
    }
}
