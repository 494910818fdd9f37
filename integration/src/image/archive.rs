//! Writes images as docker archives: one layer, a configuration, a manifest.
//!
//! Deterministic: equal content gives equal bytes, whoever makes it and when.

use std::{collections::BTreeMap, fs, io::Write};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::Archive;
use crate::build::hexadecimal;

/// One thing in a layer.
#[derive(Debug)]
enum Entry {
    File { mode: u32, content: Vec<u8> },
    Link { target: String },
    Folder { mode: u32, owner: u64 },
}

/// The files of an image, by path without a leading slash.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    entries: BTreeMap<String, Entry>,
}

/// How the image is run by default.
#[derive(Debug, Default)]
pub(crate) struct Config<'a> {
    pub(crate) entrypoint: &'a [&'a str],
    pub(crate) command: &'a [&'a str],
    /// `uid:gid`, or nothing for root.
    pub(crate) user: &'a str,
    /// The working folder, `/` when empty.
    pub(crate) folder: &'a str,
    pub(crate) volume: Option<&'a str>,
    pub(crate) port: Option<u16>,
}

impl Layer {
    /// Adds a file of root's.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.entries
            .insert(path.to_owned(), Entry::File { mode, content });
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.entries.insert(
            path.to_owned(),
            Entry::Link {
                target: target.to_owned(),
            },
        );
    }

    /// Adds a folder whose user and group have the same number.
    pub(crate) fn folder(&mut self, path: &str, mode: u32, owner: u64) {
        self.entries
            .insert(path.to_owned(), Entry::Folder { mode, owner });
    }

    /// Adds Debian's links from the old places into `/usr`.
    pub(crate) fn merged_usr(&mut self) {
        for name in ["bin", "lib", "lib64", "sbin"] {
            self.link(name, &format!("usr/{name}"));
        }
    }

    /// Adds the accounts of a data server's image: 999 is the server's.
    pub(crate) fn accounts(&mut self, name: &str) {
        let users = format!(
            "root:x:0:0:root:/root:/bin/sh\n{name}:x:999:999::/home/{name}:/bin/sh\n\
             nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
        );
        self.file("etc/passwd", 0o644, users.into_bytes());
        let groups = format!("root:x:0:\n{name}:x:999:\nnogroup:x:65534:\n");
        self.file("etc/group", 0o644, groups.into_bytes());
        self.file("etc/nsswitch.conf", 0o644, b"hosts: files dns\n".to_vec());
    }

    /// The folders that lie above some entry and are no entries themselves.
    fn implied(&self) -> Vec<String> {
        let mut folders: Vec<String> = self
            .entries
            .keys()
            .flat_map(|path| path.match_indices('/').filter_map(|(at, _)| path.get(..at)))
            .filter(|folder| !self.entries.contains_key(*folder))
            .map(str::to_owned)
            .collect();
        folders.sort();
        folders.dedup();
        folders
    }

    fn into_tar(mut self) -> Result<Vec<u8>> {
        for folder in self.implied() {
            self.folder(&folder, 0o755, 0);
        }
        let mut tar = Builder::new(Vec::new());
        // Sorted by path, so every folder comes before what is in it.
        for (path, entry) in self.entries {
            let mut header = Header::new_gnu();
            header.set_mtime(0);
            match entry {
                Entry::File { mode, content } => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(mode);
                    append(&mut tar, header, &path, &content)?;
                }
                Entry::Link { target } => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_size(0);
                    header.set_uid(0);
                    header.set_gid(0);
                    tar.append_link(&mut header, &path, &target)
                        .with_context(|| format!("adding {path}"))?;
                }
                Entry::Folder { mode, owner } => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(mode);
                    header.set_uid(owner);
                    header.set_gid(owner);
                    header.set_size(0);
                    tar.append_data(&mut header, format!("{path}/"), std::io::empty())
                        .with_context(|| format!("adding {path}"))?;
                }
            }
        }
        tar.into_inner().context("closing the layer")
    }
}

fn append<W: Write>(
    tar: &mut Builder<W>,
    mut header: Header,
    path: &str,
    content: &[u8],
) -> Result<()> {
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(u64::try_from(content.len()).context("a file of impossible size")?);
    tar.append_data(&mut header, path, content)
        .with_context(|| format!("adding {path}"))
}

/// Writes an image to its place in the cache.
pub(crate) fn write(archive: &Archive, layer: Layer, config: &Config<'_>) -> Result<()> {
    let layer = layer.into_tar()?;
    let digest = hexadecimal(&Sha256::digest(&layer));
    let mut settings = json!({
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "Entrypoint": config.entrypoint,
        "WorkingDir": if config.folder.is_empty() { "/" } else { config.folder },
    });
    if let Some(settings) = settings.as_object_mut() {
        if !config.command.is_empty() {
            settings.insert("Cmd".to_owned(), json!(config.command));
        }
        if !config.user.is_empty() {
            settings.insert("User".to_owned(), json!(config.user));
        }
        if let Some(volume) = config.volume {
            settings.insert("Volumes".to_owned(), json!({ volume: {} }));
        }
        if let Some(port) = config.port {
            settings.insert(
                "ExposedPorts".to_owned(),
                json!({ format!("{port}/tcp"): {} }),
            );
        }
    }
    let image = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": settings,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": [archive.tag], "Layers": ["layer.tar"] }]);
    let mut tar = Builder::new(Vec::new());
    for (path, content) in [
        (
            "manifest.json",
            serde_json::to_vec(&manifest).context("writing the manifest down")?,
        ),
        (
            "config.json",
            serde_json::to_vec(&image).context("writing the configuration down")?,
        ),
        ("layer.tar", layer),
    ] {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_mtime(0);
        append(&mut tar, header, path, &content)?;
    }
    let bytes = tar.into_inner().context("closing the archive")?;
    let partial = archive.path.with_extension("partial");
    fs::write(&partial, bytes).with_context(|| format!("writing {}", partial.display()))?;
    fs::rename(&partial, &archive.path)
        .with_context(|| format!("moving {} into place", archive.path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_every_folder_before_its_content_and_is_reproducible() -> Result<()> {
        let layer = || {
            let mut layer = Layer::default();
            layer.file("usr/bin/tool", 0o755, b"x".to_vec());
            layer.merged_usr();
            layer.folder("data", 0o755, 999);
            layer
        };
        let bytes = layer().into_tar()?;
        assert_eq!(bytes, layer().into_tar()?);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<String> = archive
            .entries()?
            .map(|entry| Ok(entry?.path()?.display().to_string()))
            .collect::<Result<_>>()?;
        assert_eq!(
            paths,
            [
                "bin",
                "data/",
                "lib",
                "lib64",
                "sbin",
                "usr/",
                "usr/bin/",
                "usr/bin/tool"
            ]
        );
        Ok(())
    }
}
