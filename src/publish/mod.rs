//! Publishing: layouts in, a correct and atomic site out.
//!
//! The order is what makes it safe. All input is read and checked first ([`input`], [`collect`]); then, under the store's
//! lock, everything that will be written is decided as plain data ([`plan`]); then it is written in phases, each durable
//! before the next begins ([`execute`]): blobs, then the indexes that point to them, then the documents that lead to the
//! indexes. Killed at any moment, every reference that a reader can see leads to something that is there.

pub mod collect;
pub mod error;
pub mod execute;
pub mod input;
pub mod open;
pub mod plan;
pub mod request;

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::page::Pages;
use crate::layout::Layout;
use crate::progress::Progress;
use crate::shell::{self, CommandLine};
use crate::site::SitePath;
use crate::site::map::MapError;
use crate::site::path::DESCRIPTION;
use crate::store::retry::Retries;
use crate::store::site::{Site, lock_all};
use crate::store::{BucketLocation, Conflict, Location, Store};

pub use collect::CollectError;
pub use error::PublishError;
pub use execute::Summary;
use execute::Tally;
pub use input::{Input, InputError};
use plan::EarlierAttempts;
pub use plan::{Object, Plan, PlanError};
use request::Publication;
pub use request::PublishRequest;

/// Publishes. When anything goes wrong, every site is left, or put back, as it was.
pub fn publish(request: &PublishRequest, progress: &dyn Progress) -> Result<Summary, PublishError> {
    let Prepared { layouts, pages, groups, skipped } = prepare(request)?;
    let mut sites = groups
        .iter()
        .map(|group| open::open(request, &group.root, &group.images))
        .collect::<Result<Vec<Site>, PublishError>>()?;
    let publication = Publication { request, layouts: &layouts, pages: &pages };
    let mut locks = Vec::new();
    let result = lock_all(&sites, request.wait, &mut locks)
        .map_err(PublishError::from)
        .and_then(|()| publish_locked(publication, &mut sites, groups, progress))
        // In reverse: a directory that one site made may hold what a later one made.
        .map_err(|error| match sites.iter().rev().map(Site::rollback).fold(Ok(()), Result::and) {
            Ok(()) => error,
            Err(source) => PublishError::IncompleteRollback { error: Box::new(error), source },
        });
    // What the stores kept for giving up goes before anybody else may write.
    drop(sites);
    drop(locks);
    Ok(Summary { skipped, ..result? })
}

fn publish_locked(
    publication: Publication<'_>,
    sites: &mut [Site],
    groups: Vec<Group>,
    progress: &dyn Progress,
) -> Result<Summary, PublishError> {
    let request = publication.request;
    // Every site's plan is made before the first is written: most errors are found here.
    let mut plans = Vec::new();
    for (site, group) in sites.iter_mut().zip(groups) {
        let mut attempts = Attempts::new(request, site, &group);
        let mut plan = attempts.plan(site, publication, group.images)?;
        if site.description.is_none() {
            plan.warnings.extend(prefix_warning(&group.root));
            plan.warnings.extend(unlisted_warning(site, &plan)?);
        }
        plan.warnings.extend(view_warning(site, &group.root));
        plans.push((plan, attempts));
    }
    let mut summary = Summary::default();
    for (site, (mut plan, mut attempts)) in sites.iter_mut().zip(plans) {
        let mut tally = Tally::new(progress, request.wait);
        while let Err(error) = execute::execute(site, publication, &plan, &mut tally) {
            let images = attempts.again(error)?;
            plan = attempts.plan(site, publication, images)?;
        }
        summary.add(Summary { retries: attempts.retries.count, ..tally.summary(&plan) });
    }
    Ok(summary)
}

/// What the owner of a new site below a prefix has to know.
fn prefix_warning(root: &Location) -> Option<String> {
    let Location::Bucket(BucketLocation { prefix: Some(prefix), .. }) = root else { return None };
    Some(format!(
        "the site's root is {root}, but clients request /.well-known at the root of the host: the server of the \
         bucket has to map / to /{prefix}/; if it cannot, publish to the bucket's root with --base-path {}",
        shell::quote(&format!("/{prefix}"))
    ))
}

/// The most images that a warning lists.
const LISTED_IMAGES: usize = 10;

/// The warning about images that a site without a description no longer lists, because they have indexes and are not published now.
/// Without a directory for indexes alone, nothing tells an index from files of other programs.
fn unlisted_warning(site: &Site, plan: &Plan) -> Result<Option<String>, PublishError> {
    let pattern = site.map.index_pattern();
    if pattern.origin.is_some() || pattern.static_prefix().is_empty() {
        return Ok(None);
    }
    let mut images = BTreeSet::new();
    site.own.scan(pattern.static_prefix(), &mut |path, found| {
        let names = found.map_or(vec![], |_| site.map.names_at(&path));
        if names.iter().all(|name| plan.blobs.images.binary_search(&name.image()).is_err()) {
            images.extend(match names.as_slice() {
                [] => None,
                [name] => Some(name.image().to_string()),
                _ => Some(format!("that of {path}")),
            });
        }
        // The first ones, and one that says that there are more.
        if images.len() > LISTED_IMAGES + 1 {
            images.pop_last();
        }
    })?;
    if images.is_empty() {
        return Ok(None);
    }
    let listed = images.iter().take(LISTED_IMAGES).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if images.len() > LISTED_IMAGES { " and others" } else { "" };
    Ok(Some(format!(
        "{} has no {DESCRIPTION}, but has indexes of other images, which the site does not list now: {listed}{more}; publish these \
         images again",
        site.own.name()
    )))
}

/// What the owner of a site in a directory has to know when the registry view is new to it.
fn view_warning(site: &Site, root: &Location) -> Option<String> {
    let Location::Directory(root) = root else { return None };
    let is_new = site.map.settings().views.registry && !site.views_before().registry;
    (is_new && site.description.is_some()).then(|| {
        let command = CommandLine::new(["ocisite", "server-config", "nginx", "--site"]).path(&root.display().to_string());
        format!(
            "the registry view is new to this site: render the configuration of its web server again (for nginx: `{command}`), \
             unless it was rendered with --registry"
        )
    })
}

/// The attempts to publish to a site that others publish to at the same time, where no lock keeps them apart.
struct Attempts {
    retries: Retries,
    earlier: EarlierAttempts,
    /// What is published, where it may have to be merged more than once. Under a lock it need not, and the images are let go
    /// of as soon as they are planned: there may be many.
    images: Option<Vec<collect::Image>>,
}

impl Attempts {
    fn new(request: &PublishRequest, site: &Site, group: &Group) -> Attempts {
        let images = (!site.stores().all(Store::has_lock)).then(|| group.images.clone());
        Attempts { retries: Retries::new(request.wait), earlier: EarlierAttempts::default(), images }
    }

    /// Plans from what is there now.
    fn plan(
        &mut self,
        site: &mut Site,
        publication: Publication<'_>,
        mut images: Vec<collect::Image>,
    ) -> Result<Plan, PublishError> {
        loop {
            open::reload(site, publication.request, &images)?;
            match plan::plan(site, publication, images, &mut self.earlier) {
                Ok(plan) => return Ok(plan),
                Err(error) => images = self.again(error.into())?,
            }
        }
    }

    /// Waits, if trying again can help, and gives what is to be published once more.
    fn again(&mut self, error: PublishError) -> Result<Vec<collect::Image>, PublishError> {
        let Some(images) = &self.images else { return Err(error) };
        let path = match Conflict::of(&error) {
            Some(conflict) => conflict.path.clone(),
            None => return Err(error),
        };
        if !self.retries.pause() {
            let Retries { count: retries, wait: waited, .. } = self.retries;
            return Err(PublishError::Contended { path, retries, waited });
        }
        Ok(images.clone())
    }
}

/// Decides everything that [`publish`] would write, without writing, locking or creating anything.
pub fn dry_run(request: &PublishRequest) -> Result<Preview, PublishError> {
    let Prepared { layouts, pages, groups, skipped } = prepare(request)?;
    let publication = Publication { request, layouts: &layouts, pages: &pages };
    let mut preview = Preview { skipped, ..Preview::default() };
    for group in groups {
        let site = open::open(request, &group.root, &group.images)?;
        let plan = plan::plan(&site, publication, group.images, &mut EarlierAttempts::default())?;
        preview.objects.extend(plan.objects(&site, &pages)?);
        preview.missing.extend(plan.missing);
        preview.warnings.extend(plan.warnings);
    }
    Ok(preview)
}

/// What a publish would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Preview {
    /// Every object that would be there of what is published, in the order of writing.
    pub objects: Vec<Object>,
    /// Blobs that the layouts lack.
    pub missing: Vec<collect::MissingBlob>,
    /// What looked like a layout and was left alone.
    pub skipped: Vec<input::Skipped>,
    /// What a person should hear of.
    pub warnings: Vec<String>,
}

struct Prepared {
    layouts: Vec<Layout>,
    pages: Pages,
    groups: Vec<Group>,
    skipped: Vec<input::Skipped>,
}

/// The images that go to one root.
struct Group {
    root: Location,
    images: Vec<collect::Image>,
}

fn prepare(request: &PublishRequest) -> Result<Prepared, PublishError> {
    let gathered = input::gather(&request.inputs, request.host.as_deref(), request.jobs)?;
    let images = collect::collect(&gathered, request.allow_missing, request.jobs)?;
    let pages = Pages::load(request.template_dir.as_deref())?;
    let groups = groups(request, images)?;
    Ok(Prepared { layouts: gathered.layouts, pages, groups, skipped: gathered.skipped })
}

/// One root for all images, or one per host.
fn groups(request: &PublishRequest, images: Vec<collect::Image>) -> Result<Vec<Group>, PublishError> {
    if !request.root_per_host {
        return Ok(vec![Group { root: request.site.clone(), images }]);
    }
    let mut groups: BTreeMap<SitePath, Vec<collect::Image>> = BTreeMap::new();
    for image in images {
        // RFC 3986 lets a host be called `..`; a directory of that name would be outside.
        let wrong = |source| MapError::Path { subject: image.name.to_string(), source };
        groups.entry(SitePath::new(image.name.host()).map_err(wrong)?).or_default().push(image);
    }
    let group = |(host, images): (SitePath, _)| {
        let wrong = |source| MapError::Path { subject: host.to_string(), source };
        Ok(Group { root: request.site.join(host.as_str()).map_err(wrong)?, images })
    };
    groups.into_iter().map(group).collect()
}
