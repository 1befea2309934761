//! Why a publish did not happen.

use std::time::Duration;

use super::collect::CollectError;
use super::input::InputError;
use super::plan::PlanError;
use crate::catalogue::page::PageError;
use crate::catalogue::plan::CatalogueError;
use crate::registry::RegistryError;
use crate::site::SitePath;
use crate::site::map::MapError;
use crate::store::StoreError;
use crate::store::site::SiteError;
use crate::store::site_image::SiteImageError;
use oci_discovery::error::chain;
use oci_discovery::template::TemplateError;

/// Why a publish did not happen.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What was given to publish cannot be.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A layout, or something in it, is wrong.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The site that would result is impossible.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A template has a wrong form.
    #[error("the {what} cannot be used")]
    Template {
        /// `index template` or `CAS template`.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: TemplateError,
    },
    /// A directory of other files. The store does not know that a publish may add its files to them.
    #[error("{0}, or add --adopt to publish beside the other files")]
    NotEmpty(StoreError),
    /// A directory of sites.
    #[error("{0}, or add --root-per-host to publish the images of each host to the site of the host")]
    ContainsSites(StoreError),
    /// The site exists and has other templates.
    #[error(
        "{site} has the {what} {found}, and this publish asks for {given}: omit {options}, or publish to a new site"
    )]
    OtherTemplate {
        site: String,
        /// `index template` or `CAS template`.
        what: &'static str,
        found: String,
        given: String,
        /// What gave the template.
        options: String,
    },
    /// The site cannot be opened.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The templates do not describe a static site.
    #[error(transparent)]
    Map(#[from] MapError),
    /// What the site has of an image cannot be read.
    #[error(transparent)]
    SiteImage(#[from] SiteImageError),
    /// The site's directory cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry view cannot be written.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The catalogue cannot be written.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The templates of the catalogue's pages cannot be used.
    #[error(transparent)]
    Page(#[from] PageError),
    /// Others changed the same document again and again.
    #[error(
        "other publishers changed {path} before each attempt to write it, {retries} times in {} s; publish again, or \
         wait longer with --wait SECONDS", .waited.as_secs()
    )]
    Contended {
        /// The document.
        path: SitePath,
        /// How often it was tried again.
        retries: u32,
        /// For how long.
        waited: Duration,
    },
    /// The rollback after an error failed, too.
    #[error(
        "{}; the rollback was incomplete, so the site is consistent but partly updated; publish again",
        chain(.error)
    )]
    IncompleteRollback {
        /// What went wrong.
        error: Box<PublishError>,
        /// Why the rollback failed.
        #[source]
        source: StoreError,
    },
    /// A base path that no URI has.
    #[error("the base path {path} cannot be used: {problem}; expected a path such as /images")]
    BasePath {
        /// What was given.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Conflict;

    #[test]
    fn a_conflict_is_found_below_any_error_and_is_named_once() {
        let conflict = StoreError::from(Conflict { path: SitePath::new("catalogue.json").unwrap() });
        let error = PublishError::from(PlanError::from(CatalogueError::from(SiteError::from(conflict))));
        assert_eq!(Conflict::of(&error).map(|conflict| conflict.path.as_str()), Some("catalogue.json"));
        assert_eq!(chain(&error).matches("catalogue.json").count(), 1);
        let error = PublishError::from(PlanError::from(StoreError::Vanished { path: "catalogue.json".into() }));
        assert!(Conflict::of(&error).is_none());
    }
}
