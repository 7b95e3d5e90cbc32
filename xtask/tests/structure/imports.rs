//! Which file of a crate takes names from which other, by its `use` lines and paths, and the circles among them.
//!
//! A name that a module re-exports counts as taken from the file that defines it, and a `mod` line is no import: so a
//! parent may present its children, and a child may name what its parent presents. Code for tests alone is left out.
//! Method calls are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Meta, UseTree, Visibility};

/// A module's path from the crate's root, which is empty.
type Module = Vec<String>;

/// The files of one crate: module and text.
pub struct Sources(BTreeMap<Module, (PathBuf, syn::File)>);

/// From each file to the files that it takes names from.
pub type Imports = BTreeMap<PathBuf, BTreeSet<PathBuf>>;

impl Sources {
    /// Reads the files below a crate's `src`.
    pub fn read(src: &Path) -> Self {
        let mut texts = Vec::new();
        collect(src, src, &mut texts);
        Self::parse(texts)
    }

    /// Files by their paths below `src`.
    pub fn parse(texts: impl IntoIterator<Item = (PathBuf, String)>) -> Self {
        let parsed = texts.into_iter().map(|(path, text)| {
            let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (module(&path), (path, file))
        });
        Self(parsed.collect())
    }

    /// Each file with the files that it takes names from.
    pub fn imports(&self) -> Imports {
        let all = self.0.iter().map(|(module, (path, file))| {
            let mut taken = Taken { module, paths: Vec::new() };
            taken.visit_file(file);
            let files = taken.paths.iter().filter_map(|name| Some(self.0[&self.definition(name, 0)?].0.clone()));
            (path.clone(), files.filter(|other| other != path).collect())
        });
        all.collect()
    }

    /// The module whose file defines what a path from the crate's root names.
    fn definition(&self, name: &[String], depth: usize) -> Option<Module> {
        let mut here = Module::new();
        for (at, segment) in name.iter().enumerate() {
            let child: Module = here.iter().chain([segment]).cloned().collect();
            if self.0.contains_key(&child) {
                here = child;
                continue;
            }
            // Follows a re-export. The depth is bounded, since a circle of re-exports does not compile.
            let target = self.0.get(&here).and_then(|(_, file)| re_exported(file, &here, segment));
            return match target {
                Some(target) if depth < 16 => {
                    let rest: Vec<String> = target.into_iter().chain(name[at + 1..].iter().cloned()).collect();
                    self.definition(&rest, depth + 1)
                }
                _ => Some(here),
            };
        }
        self.0.contains_key(&here).then_some(here)
    }
}

fn collect(folder: &Path, src: &Path, texts: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, src, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            texts.push((path.strip_prefix(src).expect("below src").to_owned(), text));
        }
    }
}

/// The module of a file below `src`.
fn module(path: &Path) -> Module {
    let mut module: Module = path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) || module == ["main"] {
        module.pop();
    }
    module
}

fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string() == "test",
        meta => meta.path().is_ident("test"),
    })
}

/// The path from the crate's root for a path written in a module. Returns `None` if it leads out of the crate.
fn absolute(module: &[String], written: &[String]) -> Option<Module> {
    let mut base = match written.first()?.as_str() {
        "crate" => Module::new(),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    for segment in written {
        match segment.as_str() {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            other => base.push(other.to_owned()),
        }
    }
    Some(base)
}

/// The paths in a `use` tree, each with the name that it introduces.
fn leaves(tree: &UseTree, before: &[String]) -> Vec<(Vec<String>, String)> {
    let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &with(path.ident.to_string())),
        UseTree::Name(name) if name.ident == "self" => {
            vec![(before.to_vec(), before.last().cloned().unwrap_or_default())]
        }
        UseTree::Name(name) => vec![(with(name.ident.to_string()), name.ident.to_string())],
        UseTree::Rename(rename) => vec![(with(rename.ident.to_string()), rename.rename.to_string())],
        UseTree::Glob(_) => vec![(before.to_vec(), "*".to_owned())],
        UseTree::Group(group) => group.items.iter().flat_map(|tree| leaves(tree, before)).collect(),
    }
}

/// The target of a module's re-export of this name.
fn re_exported(file: &syn::File, module: &[String], name: &str) -> Option<Module> {
    let children: BTreeSet<String> = file
        .items
        .iter()
        .filter_map(|item| if let Item::Mod(child) = item { Some(child.ident.to_string()) } else { None })
        .collect();
    file.items.iter().find_map(|item| match item {
        Item::Use(item) if !matches!(item.vis, Visibility::Inherited) => {
            leaves(&item.tree, &[]).into_iter().find(|(_, given)| given == name).and_then(|(mut written, _)| {
                if written.first().is_some_and(|first| children.contains(first)) {
                    written.insert(0, "self".to_owned());
                }
                absolute(module, &written)
            })
        }
        _ => None,
    })
}

/// Gathers the paths that a file writes outside its tests.
struct Taken<'a> {
    module: &'a [String],
    paths: Vec<Module>,
}

impl Taken<'_> {
    fn add(&mut self, written: &[String]) {
        self.paths.extend(absolute(self.module, written).filter(|path| path != self.module));
    }
}

impl<'ast> Visit<'ast> for Taken<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_test_only(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for (written, _) in leaves(&item.tree, &[]) {
            self.add(&written);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if let Some((_, items)) = &item.content {
            let module: Module = self.module.iter().cloned().chain([item.ident.to_string()]).collect();
            let mut inner = Taken { module: &module, paths: Vec::new() };
            items.iter().for_each(|item| inner.visit_item(item));
            self.paths.append(&mut inner.paths);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let written: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if written.len() > 1 {
            self.add(&written);
        }
        visit::visit_path(self, path);
    }
}

/// The circles: sets of files in which each file takes names from each other one, directly or through others.
pub fn circles(imports: &Imports) -> Vec<Vec<PathBuf>> {
    let reached: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> =
        imports.keys().map(|file| (file, reach(imports, file))).collect();
    let mut circles = BTreeSet::new();
    for (file, from) in &reached {
        if from.contains(file) {
            let circle = from.iter().filter(|other| reached.get(*other).is_some_and(|back| back.contains(file)));
            circles.insert(circle.map(|other| (*other).clone()).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

fn reach<'a>(imports: &'a Imports, from: &PathBuf) -> BTreeSet<&'a PathBuf> {
    let (mut reached, mut open) = (BTreeSet::new(), imports.get(from).into_iter().flatten().collect::<Vec<_>>());
    while let Some(file) = open.pop() {
        if reached.insert(file) {
            open.extend(imports.get(file).into_iter().flatten());
        }
    }
    reached
}
