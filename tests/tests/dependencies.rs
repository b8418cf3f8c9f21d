//! What the published crates promise about their dependencies.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Clippy checks that our own code needs no newer compiler than we declare; this checks what we depend on.
#[test]
fn no_dependency_needs_a_newer_compiler_than_we_declare() {
    let metadata = metadata();
    let packages: BTreeMap<&str, &Value> =
        array(&metadata["packages"]).map(|package| (text(&package["id"]), package)).collect();
    let published: Vec<&str> = array(&metadata["workspace_members"])
        .map(text)
        .filter(|id| packages[id]["publish"] != Value::Array(Vec::new()))
        .collect();
    assert!(published.len() >= 4, "published crates: {published:?}");

    let ours = published.iter().map(|id| version(&packages[id]["rust_version"])).min().unwrap();
    let dependencies = normal_dependencies(&metadata, &published);
    assert!(dependencies.len() > 20, "dependencies: {dependencies:?}");
    let too_new: Vec<_> = dependencies
        .iter()
        .map(|id| packages[id])
        .filter(|package| version(&package["rust_version"]) > ours)
        .map(|package| format!("{} needs {}", package["name"], package["rust_version"]))
        .collect();
    assert!(too_new.is_empty(), "we declare {ours:?}, but {too_new:?}");
}

#[test]
fn the_blocking_crate_is_small_and_has_no_async_runtime() {
    for (features, most) in [(&[][..], 118), (&["--no-default-features"], 75)] {
        let crates = tree("guard-agent-blocking", features);
        assert!((20..most).contains(&crates.len()), "{} crates with {features:?}: {crates:?}", crates.len());
        for runtime in ["tokio", "smol", "async-std", "async-io", "async-executor"] {
            assert!(!crates.contains(runtime), "{runtime} with {features:?}");
        }
    }
}

/// Names of the crates that a package consists of.
fn tree(package: &str, features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "-e", "normal", "--prefix", "none", "-p", package, "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .args(features)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

/// Everything that a user of the published crates compiles, build scripts and macros included.
fn normal_dependencies<'a>(metadata: &'a Value, roots: &[&'a str]) -> BTreeSet<&'a str> {
    let edges: BTreeMap<&str, Vec<&str>> = array(&metadata["resolve"]["nodes"])
        .map(|node| {
            let dependencies = array(&node["deps"])
                .filter(|dependency| array(&dependency["dep_kinds"]).any(|kind| kind["kind"] != "dev"))
                .map(|dependency| text(&dependency["pkg"]));
            (text(&node["id"]), dependencies.collect())
        })
        .collect();
    let mut seen = BTreeSet::new();
    let mut next = roots.to_vec();
    while let Some(id) = next.pop() {
        if seen.insert(id) {
            next.extend(&edges[id]);
        }
    }
    seen
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--all-features", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Major and minor version; a package that declares none makes no demand.
fn version(declared: &Value) -> (u32, u32) {
    let Some(declared) = declared.as_str() else { return (0, 0) };
    let mut parts = declared.split('.').map(|part| part.parse().unwrap());
    (parts.next().unwrap(), parts.next().unwrap())
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
