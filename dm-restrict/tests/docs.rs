// SPDX-License-Identifier: MIT OR Apache-2.0
//! README and docs/ say nothing to be typed that no test has typed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/blocks.rs"]
mod blocks;

use std::{fs, path::Path};

use blocks::{PAGES, blocks, commands};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn every_page_is_looked_at() {
    let mut pages: Vec<_> = fs::read_dir(project().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .chain(["README.md".to_owned()])
        .collect();
    pages.sort();
    let listed: Vec<_> = PAGES.iter().map(|(path, _)| *path).collect();
    assert_eq!(pages, listed, "the table in support/blocks.rs");
}

#[test]
fn what_is_to_be_typed_says_who_has_typed_it() {
    for (path, page) in PAGES {
        for block in blocks(page) {
            let at = format!("{path}, line {}", block.line);
            let prompt = |line: &&str| line.starts_with("# ") || line.starts_with("$ ");
            let console = block.language == "console";
            // In others it begins a comment.
            if ["", "console", "text"].contains(&block.language) {
                let typed = block.text.first().is_some_and(prompt);
                let what = "commands begin with a prompt, in blocks named `console`";
                assert_eq!(console, typed, "{at}: {what}");
            }
            match block.marker {
                Some(("run" | "start", "dom0")) if console => drop(commands(&block)),
                Some(("write", to)) => assert!(to.starts_with('/'), "{at}: {to}"),
                Some(("file", file)) => {
                    let text = fs::read_to_string(project().join(file)).unwrap();
                    let licence = |line: &&str| !line.contains("SPDX-License-Identifier");
                    let lines: Vec<_> = text.lines().filter(licence).collect();
                    assert_eq!(block.text, lines, "{at}: not what {file} says");
                }
                Some(("not run", why)) => assert!(!why.is_empty(), "{at}"),
                marker if console => panic!("{at}: {marker:?} says not how it is tested"),
                _ => {}
            }
        }
        let mut fenced = false;
        for (number, line) in page.lines().enumerate() {
            fenced ^= line.starts_with("```");
            let typed = ["    # ", "    $ "].iter().any(|p| line.starts_with(p));
            let number = number + 1;
            assert!(
                fenced || !typed,
                "{path}, line {number}: put it into a `console` block"
            );
        }
    }
}
