// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process chose itself, made harmless: it can neither move a terminal's cursor
//! nor look like something else.

/// Longer names say no more.
const LONGEST: usize = 160;

/// In quotes; else as [`escaped`].
pub(super) fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", escaped(bytes))
}

/// Only printable ASCII as it is, at most [`LONGEST`] bytes of it.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let shown = bytes.get(..LONGEST).unwrap_or(bytes);
    let more = if shown.len() < bytes.len() { "..." } else { "" };
    format!("{}{more}", shown.escape_ascii())
}

/// Of somebody who is trusted: only what is not printable ASCII is escaped.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => shown.push(c),
            other => shown.extend(other.escape_default()),
        }
    }
    shown
}

/// Some of a list, and how many there are beyond.
pub(super) fn some(items: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = items
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    if items.len() > SHOWN {
        text += &format!("; and {} more", items.len() - SHOWN);
    }
    text
}

/// `1 thread`, `2 threads`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_harmless() {
        let text = quoted("a\u{1b}[2J\n\"\u{202e}\\".as_bytes());
        assert_eq!(text, r#""a\x1b[2J\n\"\xe2\x80\xae\\""#);
        let long = quoted(&[b'x'; 5000]);
        assert!(long.len() < 200 && long.ends_with("...\""), "{long}");
    }

    #[test]
    fn what_is_trusted_stays_readable() {
        assert_eq!(
            plain("no \"memory\" here\n\u{e9}"),
            "no \"memory\" here\\n\\u{e9}"
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let items: Vec<_> = (0..7).map(|n| n.to_string()).collect();
        assert_eq!(some(&items), "0; 1; 2; 3; 4; and 2 more");
        assert_eq!(some(&items[..2]), "0; 1");
    }
}
