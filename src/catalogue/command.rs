//! The commands that get an image, ready to be pasted into a shell.

use serde::Serialize;

use super::document::{ImageDocument, Ref};
use crate::shell::CommandLine;
use crate::site::registry;
use oci_discovery::name;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Command {
    /// The program, as a label.
    pub tool: &'static str,
    /// The command line, quoted for a POSIX shell.
    pub text: String,
}

/// How to get one ref of an image. Programs that speak to registries only are named when the site has the registry view.
pub fn commands(document: &ImageDocument, reference: &Ref, has_registry: bool) -> Vec<Command> {
    let name = &document.name;
    let directory = directory(name.path());
    let mut commands = Vec::new();
    let ours = match &reference.reference {
        None => Some(name.to_string()),
        Some(reference) => name::is_fragment(reference).then(|| format!("{name}#{reference}")),
    };
    if let Some(ours) = ours {
        commands.push(command("ocisite", CommandLine::new(["ocisite", "pull"]).name(&ours).words(["--to", directory])));
    }
    if let Some(theirs) = repository(document).filter(|_| has_registry)
        && let Some(image) = registry_reference(theirs, reference)
    {
        commands.push(command("docker", CommandLine::new(["docker", "pull"]).name(&image)));
        commands.push(command("podman", CommandLine::new(["podman", "pull"]).name(&image)));
        let (from, to) = (format!("docker://{image}"), format!("oci:{directory}"));
        commands.push(command("skopeo", CommandLine::new(["skopeo", "copy", &from, &to])));
    }
    commands
}

/// The image's name as registry clients know it. None: they would not find it under its name. Without a dot, the first part
/// of a name is no host to them.
fn repository(document: &ImageDocument) -> Option<String> {
    let (host, path) = (document.name.host(), document.name.path());
    let is_plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    let is_host = is_plain && !host.starts_with('-') && (host.contains('.') || host == "localhost");
    (is_host && registry::is_name(path)).then(|| format!("{host}/{path}"))
}

fn registry_reference(repository: String, reference: &Ref) -> Option<String> {
    match (&reference.reference, reference.entries.as_slice()) {
        (Some(tag), _) if registry::is_tag(tag) => Some(format!("{repository}:{tag}")),
        (_, [entry]) => Some(format!("{repository}@{}", entry.digest)),
        _ => None,
    }
}

/// A directory to pull into: the last segment of the path, where that is a plain word.
fn directory(path: &str) -> &str {
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_plain = last.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    // A layout whose name ends in .tar would be an archive.
    if is_plain && !last.starts_with(['.', '-']) && !last.ends_with(".tar") && !last.is_empty() {
        last
    } else {
        "image"
    }
}

fn command(tool: &'static str, line: CommandLine) -> Command {
    Command { tool, text: line.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_a_plain_word() {
        assert_eq!(directory("team/app"), "app");
        for path in ["team/-rf", "a/..", "a/b:c", "app.tar", "$(x)"] {
            assert_eq!(directory(path), "image", "{path}");
        }
    }
}
