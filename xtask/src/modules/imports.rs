//! Which file of a crate refers to which other.
//!
//! A reference counts for the file that defines the name, however many re-exports lie between. Comments, attributes, visibilities and
//! `mod` declarations are not references. The input of a macro call is searched for paths; of a `macro_rules!` body only the paths
//! that begin with `crate` or `$crate` are taken, because the others are resolved where the macro is called.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Item, ext::IdentExt, visit::Visit};

use super::tree::{Definition, ModuleId, Tree, attributes, imports, is_test_only};

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

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Module(ModuleId),
    Item(PathBuf),
}

/// Names that are being looked up, to end at imports that import themselves.
type Pending = BTreeSet<(ModuleId, String)>;

/// Resolves a path as seen from a module; empty if it leads out of the crate.
fn resolve(
    tree: &Tree,
    module: ModuleId,
    path: &[String],
    pending: &mut Pending,
) -> BTreeSet<Target> {
    let mut rest = path.iter();
    let mut targets = match rest.next().map(String::as_str) {
        None => return BTreeSet::new(),
        Some("crate") => BTreeSet::from([Target::Module(0)]),
        Some("self") => BTreeSet::from([Target::Module(module)]),
        Some("super") => {
            let parent = tree.modules[module].parent.unwrap_or(0);
            let mut at = parent;
            while rest.as_slice().first().is_some_and(|name| name == "super") {
                rest.next();
                at = tree.modules[at].parent.unwrap_or(0);
            }
            BTreeSet::from([Target::Module(at)])
        }
        Some(name) => look_up(tree, module, name, pending),
    };
    for name in rest {
        targets = targets
            .into_iter()
            .flat_map(|target| match target {
                // a variant or an associated item
                Target::Item(file) => BTreeSet::from([Target::Item(file)]),
                Target::Module(id) => {
                    let found = look_up(tree, id, name, pending);
                    if found.is_empty() && !is_imported(tree, id, name) {
                        // a name that a macro makes is taken for the module's own
                        BTreeSet::from([Target::Item(tree.modules[id].file.clone())])
                    } else {
                        found
                    }
                }
            })
            .collect();
    }
    targets
}

fn is_imported(tree: &Tree, module: ModuleId, name: &str) -> bool {
    tree.modules[module].names.contains_key(name)
}

/// Finds what a name stands for in a module, through its imports.
fn look_up(tree: &Tree, module: ModuleId, name: &str, pending: &mut Pending) -> BTreeSet<Target> {
    if !pending.insert((module, name.to_owned())) {
        return BTreeSet::new();
    }
    let mut targets = BTreeSet::new();
    match tree.modules[module].names.get(name) {
        Some(definitions) => {
            for definition in definitions {
                match definition {
                    Definition::Module(id) => {
                        targets.insert(Target::Module(*id));
                    }
                    Definition::Item(file) => {
                        targets.insert(Target::Item(file.clone()));
                    }
                    Definition::Import(path) => {
                        targets.extend(resolve(tree, module, path, pending));
                    }
                }
            }
        }
        None => {
            for glob in &tree.modules[module].globs {
                for target in resolve(tree, module, glob, pending) {
                    if let Target::Module(id) = target {
                        targets.extend(look_up(tree, id, name, pending));
                    }
                }
            }
        }
    }
    pending.remove(&(module, name.to_owned()));
    targets
}

struct Visitor<'a> {
    tree: &'a Tree,
    module: ModuleId,
    found: &'a mut References,
}

impl Visitor<'_> {
    fn refer(&mut self, path: &[String], is_import: bool, line: usize) {
        for target in resolve(self.tree, self.module, path, &mut Pending::new()) {
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

    /// Searches the input of a macro for paths of two segments or more.
    fn search(&mut self, tokens: TokenStream, only_crate: bool) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        let mut foreign = false;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) if colons == 2 && !path.is_empty() => {
                    path.push(ident.unraw().to_string());
                    colons = 0;
                }
                TokenTree::Ident(ident) => {
                    self.end_path(&mut path, line, only_crate, foreign);
                    foreign = colons == 2;
                    line = ident.span().start().line;
                    path.push(ident.unraw().to_string());
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.end_path(&mut path, line, only_crate, foreign);
                    colons = 0;
                    self.search(group.stream(), only_crate);
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.end_path(&mut path, line, only_crate, foreign);
                    colons = 0;
                }
            }
        }
        self.end_path(&mut path, line, only_crate, foreign);
    }

    fn end_path(&mut self, path: &mut Vec<String>, line: usize, only_crate: bool, foreign: bool) {
        let counts = path.len() > 1 && !foreign && (!only_crate || path[0] == "crate");
        if counts {
            self.refer(path, false, line);
        }
        path.clear();
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
        self.search(call.tokens.clone(), is_definition);
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
