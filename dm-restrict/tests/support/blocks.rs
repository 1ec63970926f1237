// SPDX-License-Identifier: MIT OR Apache-2.0
//! Code blocks of README and docs/, and what is to be done with them. A comment before a
//! block says it:
//!
//! | comment | the test |
//! |---|---|
//! | `<!-- run: dom0 -->` | runs the commands in the lab's dom0; what is shown has to be printed |
//! | `<!-- start: dom0 -->` | starts the program, which runs until the page's end |
//! | `<!-- write: PATH -->` | writes the block to that path of dom0, for commands that follow |
//! | `<!-- file: PATH -->` | compares it with that file of the project |
//! | `<!-- not run: WHY -->` | leaves it alone |

macro_rules! pages {
    ($($path:literal,)*) => {
        &[$(($path, include_str!(concat!("../../../", $path))),)*]
    };
}

/// Every page, by its path in the project.
pub(crate) const PAGES: &[(&str, &str)] = pages![
    "README.md",
    "docs/SUMMARY.md",
    "docs/abi.md",
    "docs/audit.md",
    "docs/c-api.md",
    "docs/campaign.md",
    "docs/comparison.md",
    "docs/compatibility.md",
    "docs/confinement.md",
    "docs/design.md",
    "docs/doctor.md",
    "docs/grant-broker.md",
    "docs/identity.md",
    "docs/kernel-facts.md",
    "docs/kernel-holes.md",
    "docs/lab.md",
    "docs/performance.md",
    "docs/profiles.md",
    "docs/qemu.md",
    "docs/recipes.md",
    "docs/threat-model.md",
    "docs/what-it-costs.md",
];

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block<'p> {
    /// Where it begins, from 1 on.
    pub(crate) line: usize,
    #[allow(dead_code, reason = "of the pages' own test")]
    pub(crate) language: &'p str,
    /// Kind and argument of the comment before it.
    pub(crate) marker: Option<(&'p str, &'p str)>,
    pub(crate) text: Vec<&'p str>,
}

pub(crate) fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    let mut before = "";
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| *line != "```")
                .collect();
            blocks.push(Block {
                line: number + 1,
                language,
                marker: marker(before),
                text,
            });
        }
        if !line.is_empty() {
            before = line;
        }
    }
    blocks
}

fn marker(line: &str) -> Option<(&str, &str)> {
    let text = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
    text.split_once(": ")
}

/// Commands, and the lines that each is shown to print.
#[allow(dead_code, reason = "of the pages' own test, and of dom0's")]
pub(crate) fn commands<'p>(block: &Block<'p>) -> Vec<(String, Vec<&'p str>)> {
    let mut commands: Vec<(String, Vec<&str>)> = Vec::new();
    for line in &block.text {
        let command = line.strip_prefix("# ").or(line.strip_prefix("$ "));
        match (command, commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
            // A line that goes on.
            (None, Some((command, shown))) if command.ends_with('\\') && shown.is_empty() => {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some((_, shown))) => shown.push(line),
            (None, None) => panic!("line {}: no command before {line:?}", block.line),
        }
    }
    commands
}
