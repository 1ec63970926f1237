// SPDX-License-Identifier: MIT OR Apache-2.0
//! A report for people: name, expected, seen, verdict.

use std::io::{self, Write};

use xen_restrict::audit::{HandleFinding, Moment, Report};

/// Columns for what is expected, and what is seen.
const WIDTHS: [usize; 2] = [34, 42];
const NAME: usize = 14;

pub(super) fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(out, "{}", title(report))?;
    row(out, "CHECK", "EXPECTED", "SEEN", "VERDICT")?;
    for finding in &report.findings {
        let (name, verdict) = (finding.check.name(), finding.verdict.name());
        row(out, name, &finding.expected, &finding.seen, verdict)?;
    }
    for handle in &report.handles {
        let (name, verdict) = (name(report, handle), handle.verdict.name());
        row(out, &name, &handle.expected, &handle.seen, verdict)?;
    }
    if report.handles.is_empty() {
        row(out, "handles", "", "no way to Xen", "")?;
    }
    writeln!(out, "process {}: {}\n", report.pid, report.verdict.name())
}

fn title(report: &Report) -> String {
    let mut title = format!("process {}", report.pid);
    if let Some(program) = report.processes.first() {
        title += &format!(" (\"{}\")", program.name);
    }
    if let Some(domid) = report.domid {
        title += &format!(" for {domid}");
    }
    if let Some(instance) = &report.instance {
        title += &format!(", instance {}", instance.escape_default());
    }
    title += &format!(", profile {}", report.profile);
    if let Some(phase) = report.phase {
        title += &format!(", {}", phase.name());
    }
    let others = report.processes.len().saturating_sub(1);
    if others > 0 {
        title += &format!(", with {others} more of its own");
    }
    title
        + match report.moment {
            Moment::AtRest => "; at rest while looked at",
            Moment::Stopped => "; stopped while looked at",
            Moment::Changing => "; changing while looked at",
            _ => "; running while looked at",
        }
}

fn name(report: &Report, handle: &HandleFinding) -> String {
    let number = handle
        .fd
        .map_or("mapped".to_owned(), |fd| format!("fd {fd}"));
    if handle.pid == report.pid {
        format!("{number} {}", handle.device)
    } else {
        format!("{number} {} of {}", handle.device, handle.pid)
    }
}

fn row(
    out: &mut impl Write,
    name: &str,
    expected: &str,
    seen: &str,
    verdict: &str,
) -> io::Result<()> {
    let [expected, seen] = [wrap(expected, WIDTHS[0]), wrap(seen, WIDTHS[1])];
    let names = wrap(name, NAME);
    let line = |lines: &[String], at: usize| lines.get(at).cloned().unwrap_or_default();
    for at in 0..expected.len().max(seen.len()).max(names.len()) {
        let verdict = if at == 0 { verdict } else { "" };
        let text = format!(
            "{:NAME$} {:e$} {:s$} {verdict}",
            line(&names, at),
            line(&expected, at),
            line(&seen, at),
            e = WIDTHS[0],
            s = WIDTHS[1],
        );
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// Lines of at most `width`, broken at spaces where there are any. What is longer sticks
/// out rather than be cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_whole() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdefgh i", 4), ["abcdefgh", "i"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
