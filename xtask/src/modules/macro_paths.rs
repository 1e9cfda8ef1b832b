//! Finds paths in the tokens of macros, which are not parsed.

use proc_macro2::{Punct, Spacing, TokenStream, TokenTree};
use syn::ext::IdentExt;

/// A path of two segments or more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MacroPath {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// Finds the paths of two segments or more, except those that begin with `::`.
pub(super) fn find(tokens: TokenStream) -> Vec<MacroPath> {
    let mut found = Vec::new();
    search(tokens, &mut found);
    found
}

fn search(tokens: TokenStream, found: &mut Vec<MacroPath>) {
    let mut tokens = tokens.into_iter().peekable();
    // whether the last tokens were `::` without an identifier before
    let mut is_continued = false;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(first) => {
                let mut path = vec![first.unraw().to_string()];
                let mut ends_in_separator = false;
                while let Some(TokenTree::Punct(punct)) = tokens.peek()
                    && is_joint_colon(punct)
                {
                    tokens.next();
                    tokens.next();
                    match tokens.peek() {
                        Some(TokenTree::Ident(next)) => {
                            path.push(next.unraw().to_string());
                            tokens.next();
                        }
                        _ => ends_in_separator = true,
                    }
                }
                if path.len() > 1 && !is_continued {
                    let line = first.span().start().line;
                    found.push(MacroPath { path, line });
                }
                is_continued = ends_in_separator;
            }
            TokenTree::Punct(punct) if is_joint_colon(&punct) => {
                tokens.next();
                is_continued = true;
            }
            TokenTree::Group(group) => {
                search(group.stream(), found);
                is_continued = false;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => is_continued = false,
        }
    }
}

/// Whether this is the first colon of `::`.
fn is_joint_colon(punct: &Punct) -> bool {
    punct.as_char() == ':' && punct.spacing() == Spacing::Joint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_paths(tokens: &str, expected: &[&str]) {
        let found: Vec<_> = find(tokens.parse().expect("tokens"))
            .into_iter()
            .map(|found| found.path.join("::"))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn paths_are_found_at_any_depth() {
        assert_paths("a::b, [c::d::e(f::g)]", &["a::b", "c::d::e", "f::g"]);
    }

    #[test]
    fn single_names_and_colons_are_no_paths() {
        assert_paths("a, b: c, d :: e, \"f::g\"", &["d::e"]);
    }

    #[test]
    fn paths_of_other_crates_are_left_out() {
        assert_paths("::a::b, <T as c::D>::e::f", &["c::D"]);
    }

    #[test]
    fn a_path_ends_at_generic_arguments() {
        assert_paths("a::b::<c::D>::e::f()", &["a::b", "c::D"]);
    }

    #[test]
    fn a_dollar_sign_is_no_part_of_a_path() {
        assert_paths("$crate::a::$b", &["crate::a"]);
    }
}
