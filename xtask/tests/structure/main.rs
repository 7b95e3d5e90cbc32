//! The structure that ARCHITECTURE.md promises: no file of a crate imports another in a circle, and no crate depends on
//! what it must not know. `cargo test -p xtask --test structure -- --nocapture` prints the graph of the crates.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use imports::{Sources, circles};
use serde_json::Value;

/// The crates that a crate must not depend on, directly or through others.
const IGNORANT: &[(&str, &[&str])] = &[
    ("receiver-capture", &["receiver", "receiver-common", "receiver-host", "tokio", "clap", "netlab"]),
    ("receiver-common", &["receiver", "receiver-xsk", "tokio", "clap", "netlab"]),
    (
        "receiver-feed",
        &[
            "receiver",
            "receiver-xsk",
            "receiver-host",
            "receiver-membership",
            "receiver-send",
            "aya",
            "tokio",
            "clap",
            "netlab",
        ],
    ),
    ("receiver-xsk", &["receiver", "receiver-host", "aya", "tokio", "clap", "tracing", "netlab"]),
    (
        "receiver-host",
        &["receiver", "receiver-common", "receiver-membership", "receiver-xsk", "aya", "tokio", "clap", "netlab"],
    ),
    (
        "receiver-membership",
        &["receiver", "receiver-common", "receiver-host", "receiver-xsk", "aya", "tokio", "clap", "netlab"],
    ),
    ("receiver-send", &["receiver", "receiver-xsk", "tokio", "clap", "netlab"]),
    ("receiver", &["receiver-send", "receiver-cli", "clap", "netlab", "ratatui", "serde_json", "signal-hook"]),
];

/// A dependency that a crate names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    name: String,
    is_optional: bool,
    /// The dependent enables a feature of it.
    has_features: bool,
}

#[derive(Debug)]
struct Package {
    folder: PathBuf,
    /// Names of direct dependencies, without those for tests.
    dependencies: BTreeSet<Dependency>,
}

fn workspace() -> BTreeMap<String, Package> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--offline", "--manifest-path"]).arg(manifest);
    let output = cargo.output().expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON of cargo metadata");
    let packages = metadata["packages"].as_array().expect("packages").iter().map(|package| {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let folder = PathBuf::from(text(&package["manifest_path"]));
        let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
        let dependencies = dependencies.filter(|dependency| dependency["kind"] != "dev");
        let package_of = Package {
            folder: folder.parent().expect("a folder").to_owned(),
            dependencies: dependencies
                .map(|dependency| Dependency {
                    name: text(&dependency["name"]),
                    is_optional: dependency["optional"] == true,
                    has_features: dependency["features"].as_array().is_some_and(|features| !features.is_empty()),
                })
                .collect(),
        };
        (text(&package["name"]), package_of)
    });
    packages.collect()
}

/// All direct and indirect dependencies within the workspace. Optional ones of a dependency count if the dependent
/// enables a feature of it.
fn known(packages: &BTreeMap<String, Package>, name: &str) -> BTreeSet<String> {
    let (mut all, mut open) = (BTreeSet::new(), vec![(name.to_owned(), true)]);
    let mut seen = BTreeSet::new();
    while let Some((next, with_optional)) = open.pop() {
        for dependency in packages.get(&next).into_iter().flat_map(|package| &package.dependencies) {
            if dependency.is_optional && !with_optional {
                continue;
            }
            all.insert(dependency.name.clone());
            if seen.insert((dependency.name.clone(), dependency.has_features)) {
                open.push((dependency.name.clone(), dependency.has_features));
            }
        }
    }
    all
}

/// `A must not depend on B`, for each forbidden dependency.
fn forbidden(packages: &BTreeMap<String, Package>, rules: &[(&str, &[&str])]) -> Vec<String> {
    let faults = rules.iter().flat_map(|(name, unknown)| {
        assert!(packages.contains_key(*name), "there is no crate {name} any more: adjust the rules");
        let known = known(packages, name);
        let known = unknown.iter().filter(move |unknown| known.contains(**unknown));
        known.map(move |unknown| format!("{name} must not depend on {unknown}"))
    });
    faults.collect()
}

#[test]
fn crates_know_only_what_they_should() {
    let packages = workspace();
    for (name, package) in &packages {
        let inside: Vec<_> = package
            .dependencies
            .iter()
            .map(|other| other.name.as_str())
            .filter(|other| packages.contains_key(*other))
            .collect();
        println!("{name} -> {}", if inside.is_empty() { "nothing of this tree".to_owned() } else { inside.join(", ") });
    }
    assert_eq!(forbidden(&packages, IGNORANT), [""; 0]);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut faults = Vec::new();
    for (name, package) in workspace() {
        let src = package.folder.join("src");
        let imports = Sources::read(&src).imports();
        println!("{name}: {} files, {} imports", imports.len(), imports.values().map(BTreeSet::len).sum::<usize>());
        for circle in circles(&imports) {
            faults.push(format!("{name}: {circle:?}"));
            for file in &circle {
                let taken: Vec<_> = imports[file].iter().filter(|other| circle.contains(other)).collect();
                println!("  {} -> {taken:?}", file.display());
            }
        }
    }
    assert_eq!(faults, [""; 0]);
}

fn sources(texts: &[(&str, &str)]) -> Sources {
    Sources::parse(texts.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())))
}

#[test]
fn a_circle_is_found_by_use_lines_by_paths_and_by_re_exports() {
    let by = |a: &str, b: &str| {
        circles(&sources(&[("lib.rs", "mod a; mod b; pub use b::B;"), ("a.rs", a), ("b.rs", b)]).imports())
    };
    let circle = [["a.rs", "b.rs"].map(PathBuf::from).to_vec()];
    assert_eq!(by("use crate::b::B; pub struct A;", "use super::a::A; pub struct B;"), circle);
    assert_eq!(by("use crate::B; pub struct A;", "pub struct B(crate::a::A);"), circle);
    assert_eq!(by("use crate::{b::{self}}; pub struct A;", "pub fn b(_: crate::a::A) {}"), circle);
    assert!(by("use crate::B; pub struct A;", "pub struct B;").is_empty());
    let in_tests = "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }";
    assert!(by("use crate::B; pub struct A;", in_tests).is_empty(), "tests may name anything");
}

#[test]
fn a_parent_may_present_its_children() {
    let tree = sources(&[
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod one; mod two; pub use one::One; pub use two::Two;"),
        ("a/one.rs", "use super::Two; pub struct One(Two);"),
        ("a/two.rs", "pub struct Two;"),
    ]);
    assert!(circles(&tree.imports()).is_empty());
    let own = sources(&[("lib.rs", "mod a; pub struct Here;"), ("a.rs", "use super::Here; pub struct A;")]);
    assert!(circles(&own.imports()).is_empty(), "one way");
    let both =
        sources(&[("lib.rs", "mod a; use self::a::A; pub struct Here(A);"), ("a.rs", "pub struct A(super::Here);")]);
    assert_eq!(circles(&both.imports()).len(), 1);
}

#[test]
fn a_forbidden_dependency_is_found_behind_another() {
    let package = |dependencies: &[&str]| Package {
        folder: PathBuf::new(),
        dependencies: dependencies
            .iter()
            .map(|&name| Dependency { name: name.to_owned(), is_optional: false, has_features: false })
            .collect(),
    };
    let packages = [("low", package(&["middle"])), ("middle", package(&["high"])), ("high", package(&[]))];
    let packages = packages.map(|(name, package)| (name.to_owned(), package)).into();
    assert_eq!(forbidden(&packages, &[("low", &["high", "other"])]), ["low must not depend on high"]);
    assert_eq!(forbidden(&packages, &[("high", &["low"])]), [""; 0]);
}

#[test]
fn an_optional_dependency_counts_for_those_who_enable_features() {
    let to = |name: &str, is_optional, has_features| Package {
        folder: PathBuf::new(),
        dependencies: [Dependency { name: name.to_owned(), is_optional, has_features }].into(),
    };
    let packages = [
        ("plain", to("middle", false, false)),
        ("user", to("middle", false, true)),
        ("middle", to("high", true, false)),
    ];
    let packages = packages.map(|(name, package)| (name.to_owned(), package)).into();
    assert_eq!(forbidden(&packages, &[("plain", &["high"])]), [""; 0]);
    assert_eq!(forbidden(&packages, &[("user", &["high"])]), ["user must not depend on high"]);
    assert_eq!(forbidden(&packages, &[("middle", &["high"])]), ["middle must not depend on high"]);
}
