// SPDX-License-Identifier: MIT OR Apache-2.0
//! The form of a report in JSON is the one that the documentation has.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::Subject;

/// Every field's path: `findings[].check`.
fn paths(value: &Value, at: &str, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                all.insert(path.clone());
                paths(value, &path, all);
            }
        }
        Value::Array(items) => {
            for item in items {
                paths(item, &format!("{at}[]"), all);
            }
        }
        _ => {}
    }
}

#[test]
fn each_field_is_documented_and_there() {
    let documentation = include_str!("../../../docs/audit.md");
    let report = Subject::with(&["in-flight"]).audit().unwrap();
    let mut seen = BTreeSet::new();
    paths(
        &serde_json::to_value(&report).unwrap(),
        "reports[]",
        &mut seen,
    );
    let documented: BTreeSet<_> = documentation
        .lines()
        .filter_map(|line| line.strip_prefix("| `reports[].")?.split_once('`'))
        .map(|(path, _)| format!("reports[].{path}"))
        .collect();
    let missing: Vec<_> = seen.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/audit.md: {missing:?}");
    let gone: Vec<_> = documented
        .difference(&seen)
        .filter(|path| !path.ends_with("domid"))
        .collect();
    assert!(gone.is_empty(), "only in docs/audit.md: {gone:?}");
}

#[test]
fn names_are_as_documented() {
    let report = serde_json::to_value(Subject::with(&[]).audit().unwrap()).unwrap();
    assert_eq!(report["profile"], "strict");
    assert_eq!(report["verdict"], "holds");
    assert_eq!(report["moment"], "at-rest");
    assert_eq!(report["processes"][0]["role"], "program");
    assert_eq!(report["findings"][0]["check"], "identity");
    assert_eq!(report["findings"][12]["verdict"], "not-observable");
}
