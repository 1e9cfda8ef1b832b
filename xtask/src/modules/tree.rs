//! The modules of a crate, read from its files.
//!
//! Modules that are compiled for tests only are left out. All other conditions count as true, so
//! that every feature is seen.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, Meta, UseTree, ext::IdentExt, visit::Visit};

/// An index into [`Tree::modules`].
pub(super) type ModuleId = usize;

/// Reads a file; `None` if there is none.
pub(super) type ReadFile<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// The modules of one crate; the first is the root.
pub(super) struct Tree {
    pub(super) modules: Vec<Module>,
}

pub(super) struct Module {
    /// The file that holds the module's items. An inline module shares the file of its parent.
    pub(super) file: PathBuf,
    pub(super) parent: Option<ModuleId>,
    pub(super) items: Vec<Item>,
    pub(super) names: BTreeMap<String, Vec<Definition>>,
    /// The paths of glob imports.
    pub(super) globs: Vec<Vec<String>>,
}

/// What a name stands for in a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    Module(ModuleId),
    /// An item that is defined in this file.
    Item(PathBuf),
    /// A name that a `use` declaration brings into scope.
    Import(Vec<String>),
}

/// One name of a `use` declaration.
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// The name in scope; `None` for a glob.
    pub(super) name: Option<String>,
    pub(super) line: usize,
}

impl Tree {
    /// Reads the crate whose root is this file.
    pub(super) fn read(root: &Path, read_file: ReadFile<'_>) -> anyhow::Result<Self> {
        let mut tree = Self {
            modules: Vec::new(),
        };
        let text = read_file(root).with_context(|| format!("cannot read {}", root.display()))?;
        let folder = folder_of(root);
        tree.add_file(root, folder, None, &text, read_file)?;
        Ok(tree)
    }

    /// Adds the module that a file holds; `folder` is where the files of its children are.
    fn add_file(
        &mut self,
        file: &Path,
        folder: PathBuf,
        parent: Option<ModuleId>,
        text: &str,
        read_file: ReadFile<'_>,
    ) -> anyhow::Result<ModuleId> {
        let parsed =
            syn::parse_file(text).with_context(|| format!("cannot parse {}", file.display()))?;
        let items = match parsed.attrs.iter().any(is_test_only) {
            true => Vec::new(),
            false => parsed.items,
        };
        self.add_module(file, folder, parent, items, None, read_file)
    }

    fn add_module(
        &mut self,
        file: &Path,
        folder: PathBuf,
        parent: Option<ModuleId>,
        items: Vec<Item>,
        inline_folder: Option<PathBuf>,
        read_file: ReadFile<'_>,
    ) -> anyhow::Result<ModuleId> {
        let id = self.modules.len();
        self.modules.push(Module {
            file: file.to_owned(),
            parent,
            items: Vec::new(),
            names: BTreeMap::new(),
            globs: Vec::new(),
        });
        // a `#[path]` in a file is relative to the file, in an inline module to the folder of that
        // module
        let path_base = inline_folder.unwrap_or_else(|| folder_of(file));
        for item in &items {
            if attributes(item).iter().any(is_test_only) {
                continue;
            }
            match item {
                Item::Mod(module) => {
                    let name = module.ident.unraw().to_string();
                    let child_folder = folder.join(&name);
                    let child = match &module.content {
                        Some((_, items)) => {
                            let items = items.clone();
                            let inline = Some(child_folder.clone());
                            self.add_module(file, child_folder, Some(id), items, inline, read_file)?
                        }
                        None => {
                            let found = match path_attribute(&module.attrs) {
                                Some(path) => {
                                    let path = path_base.join(path);
                                    let folder = folder_of(&path);
                                    read_file(&path).map(|text| (path, folder, text))
                                }
                                None => [
                                    folder.join(format!("{name}.rs")),
                                    child_folder.join("mod.rs"),
                                ]
                                .into_iter()
                                .find_map(|path| {
                                    read_file(&path).map(|text| (path, child_folder.clone(), text))
                                }),
                            };
                            let Some((path, folder, text)) = found else {
                                bail!("no file for `mod {name};` in {}", file.display());
                            };
                            self.add_file(&path, folder, Some(id), &text, read_file)?
                        }
                    };
                    self.define(id, name, Definition::Module(child));
                }
                Item::Macro(item) => self.define_macro(id, item, file),
                _ => {
                    if let Some(name) = item_name(item) {
                        self.define(id, name, Definition::Item(file.to_owned()));
                    }
                }
            }
        }
        // also the `use` declarations inside of functions, as if they stood in the module
        let mut uses = Uses::default();
        for item in items.iter().filter(|item| !matches!(item, Item::Mod(_))) {
            uses.visit_item(item);
        }
        for import in &uses.0 {
            match &import.1 {
                Some(name) => {
                    self.define(id, name.clone(), Definition::Import(import.0.clone()));
                }
                None => self.modules[id].globs.push(import.0.clone()),
            }
        }
        self.modules[id].items = items;
        Ok(id)
    }

    /// Defines a `macro_rules!` macro, or the items that a macro call spells out in its input, as
    /// `pin_project!` does.
    fn define_macro(&mut self, id: ModuleId, item: &syn::ItemMacro, file: &Path) {
        let definition = Definition::Item(file.to_owned());
        if let Some(name) = &item.ident {
            let exported = item
                .attrs
                .iter()
                .any(|attribute| attribute.path().is_ident("macro_export"));
            let scope = if exported { 0 } else { id };
            self.define(scope, name.unraw().to_string(), definition);
        } else {
            for name in declared_names(item.mac.tokens.clone()) {
                self.define(id, name, definition.clone());
            }
        }
    }

    fn define(&mut self, id: ModuleId, name: String, definition: Definition) {
        self.modules[id]
            .names
            .entry(name)
            .or_default()
            .push(definition);
    }
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).to_owned()
}

/// The names of all `use` declarations, with their paths.
#[derive(Default)]
struct Uses(Vec<(Vec<String>, Option<String>)>);

impl<'ast> Visit<'ast> for Uses {
    fn visit_item(&mut self, item: &'ast Item) {
        // a module inside of a function is not followed
        if !attributes(item).iter().any(is_test_only) && !matches!(item, Item::Mod(_)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for import in imports(item) {
            self.0.push((import.path, import.name));
        }
    }
}

/// The names that a `use` declaration imports. Paths with a leading `::` name other crates and are
/// left out.
pub(super) fn imports(item: &syn::ItemUse) -> Vec<Import> {
    let mut found = Vec::new();
    if item.leading_colon.is_none() {
        flatten(&item.tree, &mut Vec::new(), &mut found);
    }
    found
}

fn flatten(tree: &UseTree, prefix: &mut Vec<String>, found: &mut Vec<Import>) {
    let with = |prefix: &[String], ident: &syn::Ident| {
        let mut path = prefix.to_vec();
        // `a::{self}` is `a`
        if ident != "self" || path.is_empty() {
            path.push(ident.unraw().to_string());
        }
        path
    };
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.unraw().to_string());
            flatten(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Name(name) => {
            let path = with(prefix, &name.ident);
            found.push(Import {
                name: path.last().cloned(),
                path,
                line: line(&name.ident),
            });
        }
        UseTree::Rename(rename) => found.push(Import {
            path: with(prefix, &rename.ident),
            name: Some(rename.rename.unraw().to_string()),
            line: line(&rename.ident),
        }),
        UseTree::Glob(glob) => found.push(Import {
            path: prefix.clone(),
            name: None,
            line: glob.star_token.spans[0].start().line,
        }),
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, prefix, found);
            }
        }
    }
}

fn line(ident: &syn::Ident) -> usize {
    ident.span().start().line
}

/// Whether an attribute removes its item from everything but tests.
pub(super) fn is_test_only(attribute: &Attribute) -> bool {
    let is_test = attribute
        .path()
        .segments
        .last()
        .is_some_and(|segment| segment.ident == "test");
    is_test
        || attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<Meta>()
                .is_ok_and(|condition| needs_test(&condition))
}

fn needs_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else {
        return condition.path().is_ident("test");
    };
    let parser = syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated;
    let Ok(parts) = list.parse_args_with(parser) else {
        return false;
    };
    match list.path.get_ident() {
        Some(name) if name == "all" => parts.iter().any(needs_test),
        Some(name) if name == "any" => !parts.is_empty() && parts.iter().all(needs_test),
        _ => false,
    }
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        match &pair.value {
            syn::Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(path),
                ..
            }) if pair.path.is_ident("path") => Some(path.value()),
            _ => None,
        }
    })
}

pub(super) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn item_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.unraw().to_string())
}

/// The identifiers that follow `struct`, `enum` and the like.
fn declared_names(tokens: TokenStream) -> Vec<String> {
    const KEYWORDS: [&str; 7] = ["const", "enum", "fn", "static", "struct", "trait", "type"];
    let mut names = Vec::new();
    let mut after_keyword = false;
    for token in tokens {
        let TokenTree::Ident(ident) = token else {
            after_keyword = false;
            continue;
        };
        if after_keyword {
            names.push(ident.to_string());
        }
        after_keyword = KEYWORDS.iter().any(|keyword| ident == keyword);
    }
    names
}
