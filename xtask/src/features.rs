//! The features of each published crate, alone and none: features must not depend on one another.

use anyhow::bail;
use cargo_metadata::{MetadataCommand, Package};
use xshell::{Shell, cmd};

/// Features of dependencies that erase keys and intermediate values of hashes from memory. No test
/// can notice that one is missing.
const ZEROIZE: [(&str, &str); 2] = [("sha2", "zeroize"), ("hmac", "zeroize")];

pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    check_zeroize(sh)?;
    let metadata = MetadataCommand::new()
        .current_dir(sh.current_dir())
        .no_deps()
        .exec()?;
    for package in metadata
        .packages
        .iter()
        .filter(|package| is_published(package))
    {
        let name = package.name.as_str();
        for features in selections(package.features.keys()) {
            cmd!(
                sh,
                "cargo clippy --package {name} --no-default-features {features...} -- -D warnings"
            )
            .run()?;
        }
    }
    Ok(())
}

fn check_zeroize(sh: &Shell) -> anyhow::Result<()> {
    // of this package alone: another member of the workspace could turn the features on
    let format = "{p} {f}";
    let tree = cmd!(
        sh,
        "cargo tree --package session-core --no-default-features --edges normal --prefix none --format {format}"
    )
    .read()?;
    for (package, feature) in ZEROIZE {
        if !has_feature(&tree, package, feature) {
            bail!("session-core must turn on the feature {feature} of {package}");
        }
    }
    Ok(())
}

/// Whether every version of the package in a tree of lines such as `sha2 v0.11.1 alloc,zeroize` has
/// the feature.
fn has_feature(tree: &str, package: &str, feature: &str) -> bool {
    let mut versions = tree
        .lines()
        .filter_map(|line| line.strip_prefix(package)?.strip_prefix(" v"))
        .peekable();
    versions.peek().is_some()
        && versions.all(|version| {
            version
                .split_whitespace()
                .flat_map(|word| word.split(','))
                .any(|name| name == feature)
        })
}

/// `publish = false` reads as an empty list of registries.
fn is_published(package: &Package) -> bool {
    package
        .publish
        .as_ref()
        .is_none_or(|registries| !registries.is_empty())
}

/// The arguments that select no feature, and each feature alone.
fn selections<'a>(features: impl Iterator<Item = &'a String>) -> Vec<Vec<&'a str>> {
    let alone = features.map(|feature| vec!["--features", feature.as_str()]);
    std::iter::once(Vec::new()).chain(alone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_feature_and_each_alone_are_selected() {
        let features = ["memory".to_owned(), "tower".to_owned()];
        assert_eq!(
            selections(features.iter()),
            [
                vec![],
                vec!["--features", "memory"],
                vec!["--features", "tower"]
            ]
        );
        assert_eq!(selections([].iter()), [Vec::<&str>::new()]);
    }

    #[test]
    fn a_feature_must_be_on_in_every_version() {
        let tree =
            "session-core v0.1.0 (/somewhere) \nsha2 v0.11.1 alloc,zeroize (*)\nsha2-asm v1.0.0 \n";
        assert!(has_feature(tree, "sha2", "zeroize"));
        assert!(!has_feature(tree, "sha2", "zero"));
        assert!(!has_feature(tree, "sha2-asm", "zeroize"));
        assert!(!has_feature(tree, "hmac", "zeroize"));
        let two = "sha2 v0.11.1 zeroize\nsha2 v0.10.0 alloc\n";
        assert!(!has_feature(two, "sha2", "zeroize"));
    }
}
