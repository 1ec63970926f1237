// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is printed for machines has the fields that the documentation names, and no other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{collections::BTreeSet, process};

use serde_json::Value;
use support::dm_restrict;
use xen_restrict::launch::Record;

type Paths = BTreeSet<String>;

/// Every field's path: `reports[].pid`.
fn paths(value: &Value, at: &str, all: &mut Paths) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = match at {
                    "" => name.clone(),
                    at => format!("{at}.{name}"),
                };
                paths(value, &path, all);
                all.insert(path);
            }
        }
        Value::Array(items) => {
            let at = format!("{at}[]");
            items.iter().for_each(|item| paths(item, &at, all));
        }
        _ => {}
    }
}

/// The first words of the rows of a document's tables behind this title.
fn documented(document: &str, title: &str) -> Paths {
    let title = format!("\n## {title}\n");
    let (_, section) = document.split_once(&title).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split_once('`').unwrap().0.to_owned())
        .collect()
}

fn printed(arguments: &[&str]) -> Value {
    let run = dm_restrict(arguments);
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

#[test]
fn an_audit_is_as_documented() {
    let document = include_str!("../../docs/audit.md");
    let mut seen = Paths::new();
    for pid in [process::id().to_string(), i32::MAX.to_string()] {
        paths(&printed(&["audit", "--json", &pid]), "", &mut seen);
    }
    let mut expected = documented(document, "JSON");
    // Only of handles on Xen's devices, which this process has not.
    expected.retain(|path| !path.starts_with("reports[].handles[]."));
    // An array's own name is in the table as `name[]`.
    for path in ["reports", "errors"] {
        assert!(expected.remove(&format!("{path}[]")), "{path}");
        expected.insert(path.to_owned());
    }
    let of_errors = ["pid", "domid", "instance", "error"].map(|name| format!("errors[].{name}"));
    let row = document
        .lines()
        .find(|line| line.starts_with("| `errors[]`"));
    for path in of_errors {
        let name = path.strip_prefix("errors[].").unwrap();
        assert!(row.unwrap().contains(&format!("`{name}`")), "{name}");
        expected.insert(path);
    }
    assert_eq!(seen, expected);
}

#[test]
fn a_list_is_as_documented() {
    // With each of its fields.
    let record = include_str!("../../fuzz/seeds/record/strict");
    let record: Record = serde_json::from_str(record).unwrap();
    let mut seen = Paths::new();
    paths(&serde_json::to_value([record]).unwrap(), "", &mut seen);
    let expected = documented(
        include_str!("../../docs/audit.md"),
        "What `list --json` prints",
    );
    assert_eq!(seen, expected);
    assert!(printed(&["list", "--json"]).is_array());
}

#[test]
fn a_diagnosis_is_as_documented() {
    let mut seen = Paths::new();
    paths(&printed(&["doctor", "--json"]), "", &mut seen);
    let document = documented(include_str!("../../docs/doctor.md"), "JSON");
    let of_items = ["topic", "name", "state", "needed_by", "seen", "remedy"];
    let path = |name: &String| match of_items.contains(&name.as_str()) {
        true => format!("items[].{name}"),
        false => name.clone(),
    };
    assert_eq!(seen, document.iter().map(path).collect());
}
