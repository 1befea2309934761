//! Lists the members of a tar archive from its headers, without reading their data.
//!
//! The `tar` crate parses headers, but its iterator reads every extension header (a GNU long name, pax records) whole
//! into memory, and a header of 512 bytes can announce gigabytes in a hole of the file. Therefore this module goes
//! from header to header itself, checks the size of an extension before it reads it, and determines the size of a
//! member once. With two walks, pax records could make them diverge.
//!
//! Memory is bounded: an extension has at most [`MAX_EXTENSION_BYTES`], and a member takes about a hundred bytes for
//! any length of its name, so that [`MAX_MEMBERS`] take about 100 MiB. A command that opens several archives has one
//! [`MemberBudget`] for all of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tar::{EntryType, GnuExtSparseHeader, Header, PaxExtensions};

use oci_discovery::seen::{Key, key};

/// The most bytes of an extension header. Those of real archives have a few hundred.
pub const MAX_EXTENSION_BYTES: u64 = 1024 * 1024;
/// The most members that the archives of one command may have together.
pub const MAX_MEMBERS: usize = 1024 * 1024;

/// The most symbolic links that are followed for one name, as in the kernel.
const MAX_LINKS: usize = 40;
/// The bytes of a tar block.
const BLOCK_BYTES: u64 = 512;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error(transparent)]
    NotTar(#[from] io::Error),
    #[error(
        "the header at byte {position}, {name:?}, is {what} of {size} bytes: expected at most {MAX_EXTENSION_BYTES}; \
         create the archive again from the layout"
    )]
    ExtensionTooLarge {
        /// Its position in bytes.
        position: u64,
        name: String,
        what: &'static str,
        /// The size that the header announces.
        size: u64,
    },
    #[error(
        "expected at most {limit} members in all archives together, found more; unpack the archive and publish the \
         directory"
    )]
    TooManyMembers { limit: usize },
}

/// The members of an archive by key of their name. Any name can be the target of a link, so all must be kept, and an
/// archive chooses their lengths.
#[derive(Debug)]
pub struct Members {
    by_name: HashMap<Key, Member>,
    budget: Arc<MemberBudget>,
}

/// The members that open archives may have together. Those of a closed one count no longer.
#[derive(Debug)]
pub struct MemberBudget {
    limit: usize,
    left: AtomicUsize,
}

impl MemberBudget {
    pub fn new(limit: usize) -> MemberBudget {
        MemberBudget { limit, left: AtomicUsize::new(limit) }
    }

    fn take(&self) -> Result<(), ArchiveError> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.map(drop).map_err(|_| ArchiveError::TooManyMembers { limit: self.limit })
    }
}

impl Default for MemberBudget {
    fn default() -> MemberBudget {
        MemberBudget::new(MAX_MEMBERS)
    }
}

#[derive(Debug)]
enum Member {
    File { offset: u64, size: u64 },
    Link(Key),
    Other,
}

/// The target of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No member.
    Nothing,
    /// A file: its bytes lie in the archive.
    File {
        /// The position of its first byte.
        offset: u64,
        /// The number of bytes.
        size: u64,
    },
    /// Another type.
    NotAFile(&'static str),
}

impl Members {
    pub fn read(archive: &File, budget: &Arc<MemberBudget>) -> Result<Members, ArchiveError> {
        let mut members = Members { by_name: HashMap::new(), budget: budget.clone() };
        let mut headers = Headers { archive, next: 0 };
        while let Some(entry) = headers.next_member()? {
            // A layout has no names that are not UTF-8 or lead out of the archive.
            let Some(name) = member_name(path(&entry.path)) else { continue };
            match members.by_name.entry(key(&[&name])) {
                Slot::Occupied(mut former) => drop(former.insert(entry.member(&name))),
                Slot::Vacant(slot) => {
                    budget.take()?;
                    slot.insert(entry.member(&name));
                }
            }
        }
        Ok(members)
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The target of a name, through links, which do not lead out of the archive.
    pub fn find(&self, name: &str) -> Found {
        let mut name = key(&[name]);
        for _ in 0..MAX_LINKS {
            match self.by_name.get(&name) {
                None => return Found::Nothing,
                Some(Member::Link(target)) => name = *target,
                Some(Member::Other) => return Found::NotAFile("not a regular file"),
                Some(Member::File { offset, size }) => return Found::File { offset: *offset, size: *size },
            }
        }
        Found::NotAFile("a chain of links without an end")
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.by_name.len(), Ordering::Relaxed);
    }
}

/// A member, with the extension headers before it.
struct Entry {
    kind: EntryType,
    path: Vec<u8>,
    link: Option<Vec<u8>>,
    offset: u64,
    size: u64,
}

impl Entry {
    fn member(&self, name: &str) -> Member {
        let link = |target: Option<String>| target.map_or(Member::Other, |target| Member::Link(key(&[&target])));
        let target = self.link.as_deref().map(path);
        if self.kind.is_file() || self.kind.is_contiguous() {
            Member::File { offset: self.offset, size: self.size }
        } else if self.kind.is_hard_link() {
            link(target.and_then(member_name))
        } else if self.kind.is_symlink() {
            let parent = Path::new(name).parent().unwrap_or(Path::new(""));
            link(target.and_then(|target| member_name(&parent.join(target))))
        } else {
            Member::Other
        }
    }
}

/// The extension headers before a member.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Vec<u8>>,
}

impl Extensions {
    /// The field for an extension of a type, and the name of that type. None: the type is of members.
    fn place(&mut self, kind: EntryType) -> Option<(&mut Option<Vec<u8>>, &'static str)> {
        match kind {
            EntryType::GNULongName => Some((&mut self.long_name, "a long name")),
            EntryType::GNULongLink => Some((&mut self.long_link, "a long link name")),
            EntryType::XHeader => Some((&mut self.pax, "pax records")),
            _ => None,
        }
    }

    /// The value of a pax record.
    fn pax(&self, key: &str) -> Option<&[u8]> {
        let records = PaxExtensions::new(self.pax.as_deref()?);
        records.filter_map(Result::ok).find(|record| record.key_bytes() == key.as_bytes()).map(|one| one.value_bytes())
    }
}

/// Reads an archive from header to header.
struct Headers<'a> {
    archive: &'a File,
    next: u64,
}

impl Headers<'_> {
    /// The next member. None: the archive ends.
    fn next_member(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extensions = Extensions::default();
        loop {
            let position = self.next;
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.entry_type();
            let size = header.entry_size()?;
            let extension = extensions.place(kind);
            if kind.is_pax_global_extensions() || extension.is_some() {
                let what = extension.as_ref().map_or("global pax records", |(_, what)| what);
                refuse_large(&header, position, what, size)?;
            }
            if let Some((place, what)) = extension {
                if place.is_some() {
                    return Err(wrong(format!("{what} twice for one member, at byte {position}")).into());
                }
                *place = Some(self.read(size)?);
                self.skip(size)?;
                continue;
            }
            let size =
                extensions.pax("size").and_then(|size| std::str::from_utf8(size).ok()?.parse().ok()).unwrap_or(size);
            self.skip_sparse_map(&header)?;
            let offset = self.next;
            self.skip(size)?;
            let link = extensions.pax("linkpath").map(<[u8]>::to_vec);
            let path = extensions.pax("path").map(<[u8]>::to_vec);
            return Ok(Some(Entry {
                kind,
                path: extensions.long_name.or(path).unwrap_or_else(|| header.path_bytes().into_owned()),
                link: extensions.long_link.or(link).or_else(|| header.link_name_bytes().map(|name| name.into_owned())),
                offset,
                size,
            }));
        }
    }

    /// The header at this position. None: the archive ends, with a block of zeros or with the file.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let bytes = header.as_mut_bytes();
        match self.archive.read_exact_at(bytes, self.next) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.is_at_end()? => return Ok(None),
            result => result?,
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut right = header.clone();
        right.set_cksum();
        if header.cksum()? != right.cksum()? {
            return Err(wrong(format!("the header at byte {} has a wrong checksum", self.next)));
        }
        self.next += BLOCK_BYTES;
        Ok(Some(header))
    }

    fn is_at_end(&self) -> io::Result<bool> {
        Ok(self.next >= self.archive.metadata()?.len())
    }

    /// The bytes of an extension, without the final zero of a long name.
    fn read(&self, size: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size as usize];
        self.archive.read_exact_at(&mut bytes, self.next)?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(bytes)
    }

    fn skip(&mut self, size: u64) -> io::Result<()> {
        let end = self.next.checked_add(size).and_then(|end| end.checked_next_multiple_of(BLOCK_BYTES));
        self.next = end.ok_or_else(|| wrong(format!("a size of {size} bytes at byte {}", self.next)))?;
        Ok(())
    }

    /// Skips the blocks in which the map of a sparse file continues, between header and data.
    fn skip_sparse_map(&mut self, header: &Header) -> io::Result<()> {
        let is_sparse = header.entry_type().is_gnu_sparse();
        let mut goes_on = is_sparse && header.as_gnu().is_some_and(|header| header.is_extended());
        while goes_on {
            let mut map = GnuExtSparseHeader::new();
            self.archive.read_exact_at(map.as_mut_bytes(), self.next)?;
            self.next += BLOCK_BYTES;
            goes_on = map.is_extended();
        }
        Ok(())
    }
}

fn refuse_large(header: &Header, position: u64, what: &'static str, size: u64) -> Result<(), ArchiveError> {
    if size <= MAX_EXTENSION_BYTES {
        return Ok(());
    }
    let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
    Err(ArchiveError::ExtensionTooLarge { position, name, what, size })
}

fn wrong(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A member's name without `./`, with `..` resolved. None: it leads out of the archive.
fn member_name(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn archive(write: impl FnOnce(&mut tar::Builder<&File>)) -> File {
        let file = tempfile::tempfile().unwrap();
        let mut builder = tar::Builder::new(&file);
        write(&mut builder);
        builder.finish().unwrap();
        drop(builder);
        file
    }

    fn add(builder: &mut tar::Builder<&File>, name: &str, bytes: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, bytes).unwrap();
    }

    fn bytes(archive: &File, name: &str) -> Option<Vec<u8>> {
        let Found::File { offset, size } = Members::read(archive, &Arc::default()).unwrap().find(name) else {
            return None;
        };
        let mut bytes = vec![0; size as usize];
        archive.read_exact_at(&mut bytes, offset).unwrap();
        Some(bytes)
    }

    #[test]
    fn member_names_are_normal_and_stay_inside() {
        let name = |path: &str| member_name(Path::new(path));
        assert_eq!(name("./blobs/sha256/ab").as_deref(), Some("blobs/sha256/ab"));
        assert_eq!(name("blobs/../oci-layout").as_deref(), Some("oci-layout"));
        assert_eq!(name("../oci-layout"), None);
        assert_eq!(name("/oci-layout"), None);
        assert_eq!(name("./"), None);
    }

    #[test]
    fn files_are_found_behind_names_of_any_length() {
        let long = "directory/".repeat(40) + "file";
        let archive = archive(|builder| {
            add(builder, "./first", b"one");
            // A name in a GNU long name, then one in a pax record, with a size that the header does not have.
            add(builder, &long, b"two");
            builder.append_pax_extensions([("path", b"renamed".as_slice()), ("size", b"5")]).unwrap();
            add(builder, "in-the-header", b"three");
            add(builder, "last", b"four");
        });
        assert_eq!(bytes(&archive, "first").as_deref(), Some(b"one".as_slice()));
        assert_eq!(bytes(&archive, &long).as_deref(), Some(b"two".as_slice()));
        assert_eq!(bytes(&archive, "renamed").as_deref(), Some(b"three".as_slice()));
        assert_eq!(bytes(&archive, "in-the-header"), None);
        assert_eq!(bytes(&archive, "last").as_deref(), Some(b"four".as_slice()));
    }

    #[test]
    fn a_member_behind_a_sparse_file_is_found() {
        // Given a sparse file whose map goes on in a block of its own, and that has no data.
        let mut sparse = Header::new_gnu();
        sparse.set_entry_type(EntryType::GNUSparse);
        sparse.set_path("sparse").unwrap();
        sparse.as_gnu_mut().unwrap().set_is_extended(true);
        sparse.set_size(0);
        sparse.set_cksum();
        let mut archive = tempfile::tempfile().unwrap();
        let mut behind = Header::new_gnu();
        behind.set_path("behind").unwrap();
        behind.set_size(0);
        behind.set_cksum();
        archive.write_all(&[*sparse.as_bytes(), [0; 512], *behind.as_bytes()].concat()).unwrap();
        let members = Members::read(&archive, &Arc::default()).unwrap();
        assert_eq!(members.find("sparse"), Found::NotAFile("not a regular file"));
        assert_eq!(members.find("behind"), Found::File { offset: 1536, size: 0 });
    }

    #[test]
    fn more_members_than_are_kept_are_refused_in_all_archives_together() {
        let archive = archive(|builder| ["a", "b", "b"].iter().for_each(|name| add(builder, name, b"")));
        let budget = Arc::new(MemberBudget::new(3));
        let opened = Members::read(&archive, &budget).unwrap();
        assert_eq!(opened.len(), 2);
        let error = Members::read(&archive, &budget).unwrap_err();
        assert!(error.to_string().contains("at most 3 members"), "{error}");
        // The members of an archive that is closed, or that was refused, do not count.
        drop(opened);
        assert_eq!(Members::read(&archive, &budget).unwrap().len(), 2);
    }
}
