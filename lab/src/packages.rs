// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fetches a suite's packages with an apt state of their own: this machine's packages
//! neither matter nor change.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::contents::Contents;
use crate::paths;
use crate::process;
use crate::progress::say;
use crate::suite::Suite;

/// How old the lists may get before the archive is asked again.
const LISTS_LIVE: Duration = Duration::from_secs(24 * 60 * 60);

/// An apt state in a folder, and what is asked of it.
pub(crate) struct Apt<'a> {
    suite: &'a Suite,
    contents: &'a Contents,
    folder: PathBuf,
}

/// The files with answers begin so.
const ANSWER: &str = "resolved-";

/// The dependency closure of an image's packages: file names, which carry the versions.
pub(crate) struct Closure {
    pub(crate) files: Vec<String>,
}

impl<'a> Apt<'a> {
    pub(crate) fn new(suite: &'a Suite, contents: &'a Contents, cache: &Path) -> Self {
        Self {
            suite,
            contents,
            folder: cache.join("apt"),
        }
    }

    /// The closure's file names, from the last time they were resolved if that is recent or
    /// if there is no network.
    ///
    /// # Errors
    /// The archive cannot be reached and there is no earlier answer.
    pub(crate) fn resolve(&self) -> Result<Closure> {
        // The answer belongs to the question: other packages, other file.
        let names = self.contents.packages(self.suite);
        let answer = self.folder.join(format!("{ANSWER}{}", self.contents.name));
        let question = format!("# {}\n", names.join(" "));
        let earlier = fs::read_to_string(&answer)
            .ok()
            .and_then(|text| text.strip_prefix(&question).map(parse_list));
        if let Some(files) = &earlier
            && is_recent(&answer)
        {
            return Ok(Closure {
                files: files.clone(),
            });
        }

        // Other contents of the same suite may have asked just now.
        let updated = self.folder.join("updated");
        if !is_recent(&updated)
            && let Err(error) = self.update().and_then(|()| Ok(fs::write(&updated, "")?))
        {
            let Some(files) = earlier else {
                return Err(error);
            };
            say(&format!(
                "the archive cannot be reached, the packages fetched earlier are used: {error}"
            ));
            return Ok(Closure { files });
        }
        let output = process::run(
            self.apt_get()?
                .args(["install", "--print-uris", "-qq", "-y"])
                // It does not name what is in its cache: here it has none.
                .args(["-o", "Dir::Cache::archives=no-archives"])
                .args(&names),
        )
        .with_context(|| {
            format!(
                "{} has no installable set of {}",
                self.suite.name,
                names.join(" ")
            )
        })?;
        let files = parse_uris(&String::from_utf8_lossy(&output.stdout));
        if files.is_empty() {
            bail!("apt named no packages for {}", names.join(" "));
        }
        fs::write(&answer, question + &files.join("\n"))
            .with_context(|| format!("cannot write {}", answer.display()))?;
        Ok(Closure { files })
    }

    /// Downloads what of the closure is not here yet; returns the files' paths.
    ///
    /// # Errors
    /// A download fails.
    pub(crate) fn download(&self, closure: &Closure) -> Result<Vec<PathBuf>> {
        let archives = self.folder.join("cache/archives");
        let paths: Vec<PathBuf> = closure.files.iter().map(|f| archives.join(f)).collect();
        if paths.iter().all(|path| path.exists()) {
            return Ok(paths);
        }
        paths::need_room(&self.folder, 400)?;
        say(&format!(
            "fetching {} packages of {}",
            paths.len(),
            self.suite.name
        ));
        process::run(
            self.apt_get()?
                .args(["install", "--download-only", "-q", "-y"])
                .args(self.contents.packages(self.suite)),
        )
        .context("the packages cannot be fetched. Is there a network?")?;
        if let Some(missing) = paths.iter().find(|path| !path.exists()) {
            bail!("apt fetched everything but {}", missing.display());
        }
        self.remove_superseded(&archives)?;
        Ok(paths)
    }

    /// Removes the packages that no answer names: they would pile up.
    fn remove_superseded(&self, archives: &Path) -> Result<()> {
        let mut wanted = BTreeSet::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(ANSWER.as_bytes())
            {
                wanted.extend(parse_list(&fs::read_to_string(entry.path())?));
            }
        }
        for entry in fs::read_dir(archives)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".deb") && !wanted.contains(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn update(&self) -> Result<()> {
        for folder in ["lists/partial", "cache/archives/partial"] {
            let path = self.folder.join(folder);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
        }
        // Nothing is installed: so the closure is complete.
        fs::write(self.folder.join("status"), "")?;
        fs::write(self.folder.join("sources.list"), sources(self.suite)?)?;
        say(&format!("asking the archive about {}", self.suite.name));
        process::run(
            self.apt_get()?
                .args(["update", "-q", "-o", "APT::Update::Error-Mode=any"]),
        )
        .map(drop)
        .context("the package lists cannot be fetched. Is there a network?")
    }

    fn apt_get(&self) -> Result<Command> {
        let folder = self
            .folder
            .to_str()
            .with_context(|| format!("{} is not UTF-8", self.folder.display()))?;
        let mut command = Command::new("apt-get");
        command.env("LC_ALL", "C");
        for option in [
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State={folder}"),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}/cache"),
            "APT::Sandbox::User=root".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Install-Recommends=false".to_owned(),
            "APT::Keep-Downloaded-Packages=true".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=2".to_owned(),
            "Acquire::http::Timeout=20".to_owned(),
            "Debug::NoLocking=true".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        Ok(command)
    }
}

fn is_recent(path: &Path) -> bool {
    let age = fs::metadata(path)
        .and_then(|m| m.modified())
        .ok()
        .and_then(|time| SystemTime::now().duration_since(time).ok());
    age.is_some_and(|age| age < LISTS_LIVE)
}

fn parse_list(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Lines of `apt-get --print-uris`: `'uri' file size hash`.
fn parse_uris(text: &str) -> Vec<String> {
    let mut files: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with('\''))
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(str::to_owned)
        .collect();
    files.sort();
    files
}

/// An archive this machine is configured to use.
#[derive(Debug, PartialEq, Eq)]
struct Archive<'a> {
    uri: &'a str,
    release: &'a str,
    signed_by: &'a str,
}

/// The suite's sources.list, with the mirrors that this machine uses for its own suite.
pub(crate) fn sources(suite: &Suite) -> Result<String> {
    let format = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(CREATED_BY)\t$(SIGNED_BY)";
    let output = process::run(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or("sid");
    sources_from(suite, &parse_targets(&text), codename)
}

fn parse_targets(text: &str) -> Vec<Archive<'_>> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split('\t');
            let (uri, release) = (fields.next()?, fields.next()?);
            let (component, kind) = (fields.next()?, fields.next()?);
            (component == "main" && kind == "Packages").then_some(Archive {
                uri,
                release,
                signed_by: fields.next().unwrap_or_default(),
            })
        })
        .collect()
}

fn sources_from(suite: &Suite, archives: &[Archive<'_>], codename: &str) -> Result<String> {
    let find = |release: &str| archives.iter().find(|a| a.release == release);
    let Some(main) = find(codename).or_else(|| find("stable")) else {
        bail!(
            "this machine's apt configuration names no archive for {codename}: the lab takes \
             its mirror from there (see `apt-get indextargets`)"
        );
    };
    let mut lines = String::new();
    let mut add = |archive: &Archive<'_>, release: &str| {
        let signed = if archive.signed_by.starts_with('/') {
            format!(" [signed-by={}]", archive.signed_by)
        } else {
            String::new()
        };
        lines += &format!("deb{signed} {} {release} main\n", archive.uri);
    };
    add(main, suite.name);
    for update in suite.updates {
        add(main, &format!("{}{update}", suite.name));
    }
    let security = find(&format!("{codename}-security")).or_else(|| find("stable-security"));
    if let Some(security) = security.filter(|_| suite.security) {
        add(security, &format!("{}-security", suite.name));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::SUITES;

    const TARGETS: &str = "\
http://one/debian/\tbookworm\tmain\tPackages\t/usr/share/keyrings/k.gpg
http://one/debian/\tbookworm\tmain\tTranslations\t/usr/share/keyrings/k.gpg
http://else/\tnodistro\tmain\tPackages\t
http://two/security/\tbookworm-security\tmain\tPackages\t
";

    #[test]
    fn mirrors_come_from_the_machine() {
        let archives = parse_targets(TARGETS);
        let text = sources_from(&SUITES[1], &archives, "bookworm").unwrap();
        assert_eq!(
            text,
            "deb [signed-by=/usr/share/keyrings/k.gpg] http://one/debian/ bookworm main\n\
             deb [signed-by=/usr/share/keyrings/k.gpg] http://one/debian/ bookworm-updates main\n\
             deb http://two/security/ bookworm-security main\n"
        );
        assert!(sources_from(&SUITES[1], &archives, "forky").is_err());
    }

    #[test]
    fn file_names_are_read_from_uris() {
        let text = "Reading lists\n\
            'http://x/pool/b.deb' b_1%3a2_amd64.deb 10 SHA256:00\n\
            'http://x/pool/a.deb' a_1_all.deb 10 SHA256:00\n";
        assert_eq!(parse_uris(text), ["a_1_all.deb", "b_1%3a2_amd64.deb"]);
    }
}
