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
mod tests;
