//! What a removal takes out of the registry view, before it takes it out of the index. Blobs and manifests are left to the gc.

use std::collections::HashSet;

use super::plan::{self, RegistryError};
use crate::site::index::IndexChange;
use crate::site::registry::{self, Endpoint};
use crate::site::{Kind, SitePath};
use crate::store::Expected;
use crate::store::site::Site;
use crate::store::site_image::SiteImage;
use oci_discovery::digest::Digest;
use oci_discovery::json::MAX_INDEX_BYTES;
use oci_discovery::name::ImageName;
use oci_discovery::oci::referrers::fallback_tag;
use oci_discovery::oci::{index, media_type};

/// Takes out of a repository what its image loses: lists first, then the tags that they listed.
pub fn remove(site: &Site, image: &ImageName, change: &IndexChange) -> Result<(), RegistryError> {
    if change.after.entries().is_empty() {
        return remove_repository(site, image.path());
    }
    let plan = plan::removal(site, image, change)?;
    for list in &plan.lists {
        list.write(&*site.own)?;
    }
    plan.removals.iter().try_for_each(|path| site.own.delete(path))?;
    remove_from_referrers(site, image, change)
}

/// Takes what is removed out of the referrers lists that have it.
fn remove_from_referrers(site: &Site, image: &ImageName, change: &IndexChange) -> Result<(), RegistryError> {
    let kept: HashSet<&Digest> = change.after.entries().iter().map(|entry| &entry.digest).collect();
    let index = || Kind::RegistryTag(Some(media_type::INDEX.into()));
    for entry in change.before.iter().filter(|entry| !kept.contains(&entry.digest)) {
        let Some(subject) = (SiteImage { site, image }).subject(entry)? else { continue };
        let tag = fallback_tag(&subject);
        let typed = registry::typed_manifest_path(image.path(), &tag, media_type::INDEX).transpose()?;
        let lists = [
            Some((registry::referrers_path(image.path(), &subject)?, Kind::Referrers)),
            Some((registry::manifest_path(image.path(), &tag)?, index())),
            typed.map(|path| (path, index())),
        ];
        for (path, kind) in lists.into_iter().flatten() {
            rewrite_without(site, &path, &kind, &entry.digest)?;
        }
    }
    Ok(())
}

fn rewrite_without(site: &Site, path: &SitePath, kind: &Kind, digest: &Digest) -> Result<(), RegistryError> {
    let Some(there) = site.own.read_document(path, MAX_INDEX_BYTES)? else { return Ok(()) };
    let listed = index::descriptors(&there.bytes).unwrap_or_default();
    let kept: Vec<_> = listed.into_iter().filter(|child| child.digest != *digest).collect();
    let bytes = registry::referrers_list(kept);
    if bytes == there.bytes {
        return Ok(());
    }
    Ok(site.own.write_document(path, kind, &bytes, &Expected::Version(there.version))?)
}

/// Removes the documents of a repository.
fn remove_repository(site: &Site, name: &str) -> Result<(), RegistryError> {
    let mut paths = Vec::new();
    site.own.list(&format!("{}/{name}/", registry::ROOT), &mut |object| {
        if let Some(endpoint) = Endpoint::parse(object.path.as_str())
            && endpoint.name() == Some(name)
            && !endpoint.kind().is_immutable()
        {
            paths.push((matches!(endpoint.kind(), Kind::RegistryTag(_)), object.path.clone()));
        }
    })?;
    // Lists, then tags.
    paths.sort();
    Ok(paths.iter().try_for_each(|(_, path)| site.own.delete(path))?)
}
