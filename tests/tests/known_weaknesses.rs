//! `known-weaknesses.md` names tests; this keeps it true.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

const MAP: &str = include_str!("../known-weaknesses.md");

fn rows() -> impl Iterator<Item = [&'static str; 3]> {
    let rows = MAP.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| item"));
    rows.filter(|line| !line.starts_with("| ---")).map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.try_into().unwrap_or_else(|cells| panic!("three cells: {cells:?}"))
    })
}

/// What stands between backticks and names a test.
fn tests(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.contains(".rs::"))
        .filter_map(|name| name.split_once("::"))
}

#[test]
fn every_test_that_the_map_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut named = 0;
    for (path, name) in tests(MAP) {
        let source = [root.join(path), root.join("guard-agent-proto/src").join(path)]
            .into_iter()
            .find_map(|path| fs::read_to_string(path).ok())
            .unwrap_or_else(|| panic!("there is no {path}"));
        let place = ["(", "<"].into_iter().find_map(|next| source.find(&format!("fn {name}{next}")));
        let before = place.map(|place| &source[..place]);
        let before = before.unwrap_or_else(|| panic!("there is no {name} in {path}"));
        let attributes = before.rsplit('}').next().unwrap_or(before);
        // A suite's macro lists its tests, and a test without a harness has a main.
        let listed = path.starts_with("tests/src/suites/") || path.ends_with("/fork.rs");
        let is_test = listed || attributes.contains("test]") || attributes.contains("test(");
        assert!(is_test || before.contains("proptest! {"), "{name} in {path} is no test");
        named += 1;
    }
    assert!(named > 80, "{named} tests are named");
}

#[test]
fn every_item_is_shown_by_a_test() {
    for [item, _, shown] in rows() {
        let is_shown = tests(shown).next().is_some() || shown.contains("`simulation`");
        assert!(is_shown, "{item} is shown by nothing");
    }
}

#[test]
fn the_map_has_every_item() {
    let items: Vec<_> = rows().map(|[item, ..]| item.split(' ').next().unwrap_or_default()).collect();
    for item in (1..=52).map(|n| format!("W{n}")).chain((1..=25).map(|n| format!("UA-{n:02}"))) {
        assert_eq!(items.iter().filter(|found| **found == item).count(), 1, "{item}");
    }
}
