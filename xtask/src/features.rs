//! Each feature of each published crate alone, and none: features must not lean on one another.

use cargo_metadata::{MetadataCommand, Package};
use xshell::{Shell, cmd};

pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
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

/// `publish = false` reads as an empty list of registries.
fn is_published(package: &Package) -> bool {
    package
        .publish
        .as_ref()
        .is_none_or(|registries| !registries.is_empty())
}

/// The arguments that select no feature, and then each one alone.
fn selections<'a>(features: impl Iterator<Item = &'a String>) -> Vec<Vec<&'a str>> {
    let alone = features.map(|feature| vec!["--features", feature.as_str()]);
    std::iter::once(Vec::new()).chain(alone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_comes_first_and_then_each_feature_alone() {
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
}
