//! CI steps over the list of crates: each feature alone, the oldest Rust, and the packages.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::cargo;
use crate::process::{read, run_shown, succeeds};
use crate::tree;

/// A crate of the workspace.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    name: String,
    /// All features except `default`.
    features: Vec<String>,
    /// Returns true if the crate may be published.
    is_published: bool,
}

/// Checks every published crate, and every crate with features, by itself: without features, and with each feature
/// alone. Cargo unites the features of what it builds together, which hides that a crate relies on another one's
/// request for a feature.
pub fn features(root: &Path) -> Result<()> {
    for package in packages(root)?.iter().filter(|package| package.is_published || !package.features.is_empty()) {
        for set in feature_sets(package) {
            let mut command = cargo(root);
            // Clippy instead of check: it fails on warnings without a rebuild of the dependencies.
            command.args(["clippy", "--locked", "--package", &package.name, "--no-default-features"]);
            if let Some(feature) = set {
                command.args(["--features", feature]);
            }
            run_shown(command.args(["--", "-D", "warnings"]))?;
        }
    }
    Ok(())
}

/// No feature, then each feature.
fn feature_sets(package: &Package) -> impl Iterator<Item = Option<&str>> {
    std::iter::once(None).chain(package.features.iter().map(|feature| Some(feature.as_str())))
}

/// Checks that no dependency needs a newer Rust than the workspace promises, and builds with that Rust if it is
/// installed. For the project's own code, clippy's lint `incompatible_msrv` denies newer items.
pub fn oldest_rust(root: &Path) -> Result<()> {
    let metadata = metadata(root, &["--filter-platform", "x86_64-unknown-linux-gnu"])?;
    let (promised, newer) = newer_than_promised(&metadata)?;
    ensure!(newer.is_empty(), "rust-version is {promised}, but these need a newer Rust: {}", newer.join(", "));
    println!("No dependency declares a newer Rust than {promised}.");
    let toolchain = format!("+{promised}");
    if !succeeds(Command::new("rustup").args(["run", &promised, "rustc", "--version"])) {
        println!(
            "Not built with Rust {promised}: that toolchain is not installed (`rustup toolchain install {promised}`)."
        );
        return Ok(());
    }
    let mut command = Command::new("cargo");
    command.current_dir(root).args([&toolchain, "check", "--workspace", "--all-targets", "--locked", "--target-dir"]);
    run_shown(command.arg(tree::target(root).join("oldest-rust")))
}

/// The workspace's `rust-version`, and the packages that declare a newer one.
fn newer_than_promised(metadata: &Value) -> Result<(String, Vec<String>)> {
    let all = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let own = |package: &&Value| package["source"].is_null();
    let mut promised: Vec<&str> = Vec::new();
    for package in all.iter().filter(own) {
        let name = package["name"].as_str().unwrap_or_default();
        promised.push(package["rust_version"].as_str().with_context(|| format!("{name} declares no rust-version"))?);
    }
    promised.sort_by_key(|version| numbers(version));
    let promised = *promised.first().context("the workspace has no packages")?;
    let newer = all.iter().filter_map(|package| {
        let version = package["rust_version"].as_str()?;
        let name = package["name"].as_str()?;
        (numbers(version) > numbers(promised)).then(|| format!("{name} ({version})"))
    });
    Ok((promised.to_owned(), newer.collect()))
}

/// A version as numbers: `1.88` and `1.88.0` are the same.
fn numbers(version: &str) -> [u64; 3] {
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// Packs all published crates at once, and builds each package: so cargo finds their dependencies on each other, which
/// are not on crates.io, and a file that is missing in a package is noticed.
pub fn packages_for_publication(root: &Path) -> Result<()> {
    let mut command = cargo(root);
    command.args(["package", "--locked", "--allow-dirty"]);
    let packages = packages(root)?;
    let published: Vec<_> = packages.iter().filter(|package| package.is_published).collect();
    if published.is_empty() {
        bail!("no crate is to be published: each has `publish = false`");
    }
    for package in published {
        command.args(["--package", &package.name]);
    }
    run_shown(&mut command)
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    parse(&metadata(root, &["--no-deps"])?)
}

fn metadata(root: &Path, arguments: &[&str]) -> Result<Value> {
    let mut command = cargo(root);
    command.args(["metadata", "--locked", "--format-version=1"]).args(arguments);
    serde_json::from_str(&read(&mut command)?).context("cargo metadata wrote no JSON")
}

fn parse(metadata: &Value) -> Result<Vec<Package>> {
    let all = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let package = |package: &Value| {
        let features = package["features"].as_object().context("a package without a list of features")?;
        Ok(Package {
            name: package["name"].as_str().context("a package without a name")?.to_owned(),
            features: features.keys().filter(|feature| *feature != "default").cloned().collect(),
            // A list of registries, empty for `publish = false`; null for any registry.
            is_published: package["publish"].as_array().is_none_or(|registries| !registries.is_empty()),
        })
    };
    all.iter().map(package).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_feature_is_checked_alone_and_default_is_none_of_them() {
        let metadata = json!({"packages": [
            {"name": "a", "publish": null, "features": {"default": ["x"], "x": [], "y": []}},
            {"name": "b", "publish": [], "features": {}},
        ]});
        let packages = parse(&metadata).expect("packages");
        assert!(packages[0].is_published && !packages[1].is_published);
        assert_eq!(feature_sets(&packages[0]).collect::<Vec<_>>(), [None, Some("x"), Some("y")]);
        assert_eq!(feature_sets(&packages[1]).collect::<Vec<_>>(), [None]);
    }

    #[test]
    fn a_dependency_that_needs_a_newer_rust_is_found() {
        let with = |version: &str| {
            json!({"packages": [
                {"name": "ours", "source": null, "rust_version": "1.88"},
                {"name": "theirs", "source": "registry", "rust_version": version},
                {"name": "silent", "source": "registry", "rust_version": null},
            ]})
        };
        let newer = |version| newer_than_promised(&with(version)).expect("versions");
        assert_eq!(newer("1.88.0"), ("1.88".to_owned(), vec![]));
        assert_eq!(newer("1.100"), ("1.88".to_owned(), vec!["theirs (1.100)".to_owned()]));
        let undeclared = json!({"packages": [{"name": "ours", "source": null, "rust_version": null}]});
        assert!(newer_than_promised(&undeclared).is_err());
    }
}
