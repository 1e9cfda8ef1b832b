//! Which files of made-up crates refer to which.

use super::*;

/// Compares the references of a made-up crate with `file -> file` lines.
#[track_caller]
fn assert_references(files: &[(&str, &str)], expected: &[&str]) {
    let read = |path: &Path| {
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| (*text).to_owned())
    };
    let tree = Tree::read(Path::new("lib.rs"), &read).expect("a crate");
    let mut found = Vec::new();
    for (from, to) in references(&tree) {
        for to in to.keys() {
            found.push(format!("{} -> {}", from.display(), to.display()));
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn a_use_declaration_is_a_reference() {
    assert_references(
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::{self as other, C};"),
            ("b.rs", "pub struct C; use std::fmt::Debug;"),
        ],
        &["a.rs -> b.rs"],
    );
}

#[test]
fn an_inline_path_is_a_reference() {
    assert_references(
        &[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "fn f() -> crate::b::C { super::c::make() }"),
            ("b.rs", "pub struct C; impl crate::d::D for C {}"),
            ("c.rs", "pub fn make() -> super::b::C { super::b::C }"),
            ("d.rs", "pub trait D {}"),
        ],
        &[
            "a.rs -> b.rs",
            "a.rs -> c.rs",
            "b.rs -> d.rs",
            "c.rs -> b.rs",
        ],
    );
}

#[test]
fn a_mod_declaration_is_no_reference() {
    assert_references(&[("lib.rs", "pub mod a;"), ("a.rs", "pub struct A;")], &[]);
}

#[test]
fn a_re_export_counts_for_the_defining_file() {
    assert_references(
        &[
            (
                "lib.rs",
                "mod a; mod b; mod c; pub use b::B; pub use self::c::*;",
            ),
            ("a.rs", "use crate::{B, C as D}; fn f(_: crate::C) {}"),
            ("b.rs", "pub struct B;"),
            ("c.rs", "pub struct C;"),
        ],
        &[
            "a.rs -> b.rs",
            "a.rs -> c.rs",
            "lib.rs -> b.rs",
            "lib.rs -> c.rs",
        ],
    );
}

#[test]
fn an_item_of_the_root_is_a_reference_to_the_root() {
    assert_references(
        &[
            ("lib.rs", "mod a; pub struct Root; pub use a::A;"),
            ("a.rs", "use crate::Root; pub struct A(Root);"),
        ],
        &["a.rs -> lib.rs", "lib.rs -> a.rs"],
    );
}

#[test]
fn a_path_through_an_imported_module_is_a_reference_to_both() {
    assert_references(
        &[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b; fn f() { b::C::new(); }"),
            ("b.rs", "pub use crate::c::C;"),
            ("c.rs", "pub struct C; impl C { pub fn new() {} }"),
        ],
        &["a.rs -> b.rs", "a.rs -> c.rs", "b.rs -> c.rs"],
    );
}

#[test]
fn tests_are_left_out() {
    assert_references(
        &[
            (
                "lib.rs",
                "mod a; mod b; mod c; #[cfg(test)] mod only_tests; #[cfg(any(test, feature = \"x\"))] mod d;",
            ),
            (
                "a.rs",
                "#[cfg(test)] mod tests { use super::*; use crate::b::B; }
                 #[cfg(all(test, unix))] use crate::b::B;
                 #[cfg(test)] #[path = \"elsewhere.rs\"] mod more;
                 #[test] fn t() { crate::c::C; }
                 struct S { #[cfg(test)] field: crate::b::B }
                 impl S { #[cfg(test)] fn f(_: crate::b::B) {} }",
            ),
            ("b.rs", "#![cfg(test)] use crate::a::S;"),
            ("c.rs", "pub struct C;"),
            ("d.rs", "use crate::c::C;"),
        ],
        &["d.rs -> c.rs"],
    );
}

#[test]
fn documentation_and_attributes_are_left_out() {
    assert_references(
        &[
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "//! See [`crate::b::B`].\n/// [`B`](crate::b::B)\n#[doc = \"crate::b::B\"]\npub(in crate) struct A;",
            ),
            ("b.rs", "pub struct B;"),
        ],
        &[],
    );
}

#[test]
fn nested_modules_are_found_in_their_folders() {
    assert_references(
        &[
            (
                "lib.rs",
                "mod a; mod d; #[path = \"odd/e.rs\"] mod e; mod f { pub mod g; }",
            ),
            ("a.rs", "pub mod b; mod c;"),
            ("a/b.rs", "use super::super::d::D; pub struct B;"),
            ("a/c/mod.rs", "mod deep; use super::b::B;"),
            (
                "a/c/deep.rs",
                "use super::super::b::B; use super::self as _;",
            ),
            ("d/mod.rs", "pub struct D;"),
            ("odd/e.rs", "mod h; use h::H;"),
            ("odd/h.rs", "pub struct H;"),
            ("f/g.rs", "use crate::a::b::B;"),
        ],
        &[
            "a/b.rs -> d/mod.rs",
            "a/c/deep.rs -> a/b.rs",
            "a/c/deep.rs -> a/c/mod.rs",
            "a/c/mod.rs -> a/b.rs",
            "f/g.rs -> a/b.rs",
            "odd/e.rs -> odd/h.rs",
        ],
    );
}

#[test]
fn an_inline_module_belongs_to_its_file() {
    assert_references(
        &[
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "mod inner { use super::Own; use super::super::b::B; } struct Own;",
            ),
            ("b.rs", "pub struct B;"),
        ],
        &["a.rs -> b.rs"],
    );
}

#[test]
fn an_import_inside_of_a_function_is_a_reference() {
    assert_references(
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "fn f() { use crate::b::B; B; }"),
            ("b.rs", "pub struct B;"),
        ],
        &["a.rs -> b.rs"],
    );
}

#[test]
fn a_name_from_a_glob_counts_for_its_defining_file() {
    assert_references(
        &[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::*; fn f(_: C) {}"),
            ("b.rs", "pub use crate::c::C;"),
            ("c.rs", "pub struct C;"),
        ],
        &["a.rs -> b.rs", "a.rs -> c.rs", "b.rs -> c.rs"],
    );
}

#[test]
fn a_local_variable_is_not_a_module() {
    assert_references(
        &[
            ("lib.rs", "mod config; fn f(config: u32) -> u32 { config }"),
            ("config.rs", ""),
        ],
        &[],
    );
}

#[test]
fn paths_in_macro_calls_are_references() {
    assert_references(
        &[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            (
                "a.rs",
                "use crate::d; fn f() { assert!(matches!(x, crate::b::B { y: ::c::Z })); vec![d::C::new()]; }",
            ),
            ("b.rs", "pub struct B;"),
            ("c.rs", "pub struct C;"),
            ("d.rs", "pub use super::c::C;"),
        ],
        &[
            "a.rs -> b.rs",
            "a.rs -> c.rs",
            "a.rs -> d.rs",
            "d.rs -> c.rs",
        ],
    );
}

#[test]
fn a_macro_refers_to_what_it_names_by_crate_and_its_caller_to_the_macro() {
    assert_references(
        &[
            ("lib.rs", "#[macro_use] mod a; mod b; mod c; mod d;"),
            (
                "a.rs",
                "#[macro_export] macro_rules! make { () => { $crate::b::B; c::C } }
                 macro_rules! local { () => {} }",
            ),
            ("b.rs", "pub struct B;"),
            ("c.rs", "fn f() { crate::make!() }"),
            ("d.rs", "local!();"),
        ],
        &["a.rs -> b.rs", "c.rs -> a.rs", "d.rs -> a.rs"],
    );
}

#[test]
fn a_type_that_a_macro_call_declares_is_found() {
    assert_references(
        &[
            ("lib.rs", "mod a; mod b; pub use b::Future;"),
            ("a.rs", "use crate::Future;"),
            (
                "b.rs",
                "pin_project! { /// Text.\n pub struct Future<F> { f: F } }",
            ),
        ],
        &["a.rs -> b.rs", "lib.rs -> b.rs"],
    );
}

#[test]
fn a_name_of_another_crate_is_no_reference() {
    assert_references(
        &[
            ("lib.rs", "mod a; mod bytes; pub use ::http;"),
            (
                "a.rs",
                "use ::bytes::Bytes; use http::{self, Uri}; use tracing; fn f() { ::bytes::x(); http::y() }",
            ),
            ("bytes.rs", ""),
        ],
        &[],
    );
}

#[test]
fn the_first_line_of_a_reference_is_kept() {
    let files = |path: &Path| match path.to_str() {
        Some("lib.rs") => Some("mod a; mod b;".to_owned()),
        Some("a.rs") => Some("\nuse crate::b::{\n  B,\n};\nfn f(_: crate::b::B) {}".to_owned()),
        Some("b.rs") => Some("pub struct B;".to_owned()),
        _ => None,
    };
    let tree = Tree::read(Path::new("lib.rs"), &files).expect("a crate");
    let found = references(&tree);
    assert_eq!(
        found[Path::new("a.rs")][Path::new("b.rs")],
        Reference {
            line: 3,
            path: "crate::b::B".to_owned()
        }
    );
}

#[test]
fn a_module_without_a_file_is_an_error() {
    let files = |path: &Path| (path == Path::new("lib.rs")).then(|| "mod gone;".to_owned());
    let error = Tree::read(Path::new("lib.rs"), &files)
        .err()
        .expect("no file");
    assert!(error.to_string().contains("mod gone"), "{error}");
}
