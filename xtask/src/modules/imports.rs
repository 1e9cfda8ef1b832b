//! Which file of a crate refers to which other.
//!
//! A reference counts for the file that defines the name, however many re-exports lie between.
//! Comments, attributes, visibilities and `mod` declarations are not references. The input of a
//! macro call is searched for paths; of a `macro_rules!` body only the paths that begin with
//! `crate` or `$crate` are taken, because the others are resolved where the macro is called.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use syn::{Item, ext::IdentExt, visit::Visit};

use super::{
    macro_paths,
    resolve::{Target, resolve},
    tree::{ModuleId, Tree, attributes, imports, is_test_only},
};

/// Where one file refers to another for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) line: usize,
    pub(super) path: String,
}

/// The references of each file to other files of the crate. Every file has an entry.
pub(super) type References = BTreeMap<PathBuf, BTreeMap<PathBuf, Reference>>;

/// Finds all references between the files of a crate.
pub(super) fn references(tree: &Tree) -> References {
    let mut found = References::new();
    for (id, module) in tree.modules.iter().enumerate() {
        found.entry(module.file.clone()).or_default();
        let mut visitor = Visitor {
            tree,
            module: id,
            found: &mut found,
        };
        for item in module
            .items
            .iter()
            .filter(|item| !matches!(item, Item::Mod(_)))
        {
            visitor.visit_item(item);
        }
    }
    found
}

struct Visitor<'a> {
    tree: &'a Tree,
    module: ModuleId,
    found: &'a mut References,
}

impl Visitor<'_> {
    fn refer(&mut self, path: &[String], is_import: bool, line: usize) {
        for target in resolve(self.tree, self.module, path) {
            let file = match target {
                Target::Item(file) => file,
                // no expression or type is a module: a local variable has the same name
                Target::Module(_) if path.len() == 1 && !is_import => continue,
                Target::Module(id) => self.tree.modules[id].file.clone(),
            };
            self.add(file, path, line);
        }
    }

    fn add(&mut self, to: PathBuf, path: &[String], line: usize) {
        let from = &self.tree.modules[self.module].file;
        if *from == to {
            return;
        }
        let reference = Reference {
            line,
            path: path.join("::"),
        };
        self.found
            .entry(from.clone())
            .or_default()
            .entry(to)
            .and_modify(|first| {
                if line < first.line {
                    *first = reference.clone();
                }
            })
            .or_insert(reference);
    }

    /// The file of a macro that is in scope by the order of the source, as after `#[macro_use]`.
    fn textual_macro(&self, name: &str) -> Option<&Path> {
        self.tree.modules.iter().find_map(|module| {
            module.items.iter().find_map(|item| match item {
                Item::Macro(item) if item.ident.as_ref().is_some_and(|ident| ident == name) => {
                    Some(module.file.as_path())
                }
                _ => None,
            })
        })
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_item(&mut self, item: &'ast Item) {
        if !attributes(item).iter().any(is_test_only) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !item.attrs.iter().any(is_test_only) {
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        if !item.attrs.iter().any(is_test_only) {
            syn::visit::visit_impl_item_const(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if !item.attrs.iter().any(is_test_only) {
            syn::visit::visit_trait_item_fn(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if !field.attrs.iter().any(is_test_only) {
            syn::visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        if !field.attrs.iter().any(is_test_only) {
            syn::visit::visit_field_value(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if !variant.attrs.iter().any(is_test_only) {
            syn::visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if !arm.attrs.iter().any(is_test_only) {
            syn::visit::visit_arm(self, arm);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if !local.attrs.iter().any(is_test_only) {
            syn::visit::visit_local(self, local);
        }
    }

    fn visit_expr_block(&mut self, block: &'ast syn::ExprBlock) {
        if !block.attrs.iter().any(is_test_only) {
            syn::visit::visit_expr_block(self, block);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for import in imports(item) {
            self.refer(&import.path, true, import.line);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let names: Vec<_> = path
                .segments
                .iter()
                .map(|segment| segment.ident.unraw().to_string())
                .collect();
            let line = path
                .segments
                .first()
                .map_or(0, |segment| segment.ident.span().start().line);
            self.refer(&names, false, line);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        if let Some(name) = call.path.get_ident()
            && let Some(file) = self.textual_macro(&name.to_string())
        {
            let line = name.span().start().line;
            self.add(file.to_owned(), &[format!("{name}!")], line);
        }
        let is_definition = call.path.is_ident("macro_rules");
        for found in macro_paths::find(call.tokens.clone()) {
            if !is_definition || found.path[0] == "crate" {
                self.refer(&found.path, false, found.line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
}
