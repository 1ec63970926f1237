// SPDX-License-Identifier: MIT OR Apache-2.0
//! That the documents hang together: links lead somewhere, and the book has them all.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::paths;

/// A link of a document: where it is, and to what.
#[derive(Debug, PartialEq, Eq)]
struct Link<'t> {
    line: usize,
    to: &'t str,
}

/// `[text](target)` outside of code.
fn links(text: &str) -> Vec<Link<'_>> {
    let mut in_code = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code || line.starts_with("    ") {
            continue;
        }
        for piece in line.split("](").skip(1) {
            if let Some((to, _)) = piece.split_once(')') {
                found.push(Link { line: at + 1, to });
            }
        }
    }
    found
}

/// What a title is called in a link.
fn anchors(text: &str) -> BTreeSet<String> {
    let titles = text.lines().filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| title.trim())
    });
    let anchor = |title: &str| {
        let kept = title.chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            _ => letter
                .is_alphanumeric()
                .then(|| letter.to_ascii_lowercase()),
        });
        kept.collect()
    };
    titles.map(anchor).collect()
}

fn broken(document: &Path) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap();
    let folder = document.parent().unwrap();
    let is_broken = |link: &Link<'_>| {
        if link.to.contains("://") {
            return false;
        }
        let (path, anchor) = link.to.split_once('#').unwrap_or((link.to, ""));
        let target = match path {
            "" => document.to_owned(),
            path => folder.join(path),
        };
        if anchor.is_empty() {
            return !target.exists();
        }
        fs::read_to_string(target).map_or(true, |text| !anchors(&text).contains(anchor))
    };
    let shown = |link: &Link<'_>| format!("{}:{}: {}", document.display(), link.line, link.to);
    let all = links(&text).into_iter();
    all.filter(is_broken).map(|link| shown(&link)).collect()
}

fn of_folder(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect()
}

/// All of them.
pub(crate) fn documents() -> Vec<PathBuf> {
    let root = paths::workspace();
    let mut documents = of_folder(&root);
    documents.extend(of_folder(&root.join("docs")));
    documents.extend(of_folder(&root.join("fuzz")));
    documents
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let broken: Vec<_> = documents.iter().flat_map(|path| broken(path)).collect();
    assert!(
        broken.is_empty(),
        "these lead nowhere:\n{}",
        broken.join("\n")
    );
}

#[test]
fn the_book_has_every_document() {
    let docs = paths::workspace().join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    let mut listed: Vec<_> = links(&summary).iter().map(|l| l.to.to_owned()).collect();
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut there: Vec<_> = of_folder(&docs).into_iter().map(name).collect();
    there.retain(|name| name != "SUMMARY.md");
    listed.sort();
    there.sort();
    assert_eq!(listed, there, "docs/SUMMARY.md lists each document once");
}

#[test]
fn links_and_titles_are_found() {
    let text = "# A `b`: c-d\nsee [x](y.md#z) and [w](v)\n```\n[no](no)\n```\n    [no](no)\n";
    let to: Vec<_> = links(text)
        .iter()
        .map(|link| (link.line, link.to))
        .collect();
    assert_eq!(to, [(2, "y.md#z"), (2, "v")]);
    assert!(anchors(text).contains("a-b-c-d"), "{:?}", anchors(text));
}
