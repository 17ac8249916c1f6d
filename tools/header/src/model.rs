//! What `src/` offers to C: constants, enums, structs, functions and their comments.

use std::fs;
use std::path::Path;

use syn::{
    Expr, ExprLit, Fields, FnArg, GenericArgument, Item, Lit, Pat, PathArguments, PointerMutability, ReturnType,
    Type as Rust,
};

/// All that C can name. Each list is in the order of the files, and of the lines in them.
#[derive(Debug, Default)]
pub struct Model {
    /// Numbers.
    pub constants: Vec<Constant>,
    /// Enums; in a parameter they are integers.
    pub enums: Vec<Enum>,
    /// Structs and unions whose fields C can see.
    pub structs: Vec<Struct>,
    /// Structs that C only has pointers to.
    pub opaque: Vec<Named>,
    /// Functions.
    pub functions: Vec<Function>,
}

/// A name and its comment.
#[derive(Debug, Clone)]
pub struct Named {
    /// As C writes it.
    pub name: String,
    /// The lines of its comment.
    pub docs: Vec<String>,
}

/// A number with a name.
#[derive(Debug)]
pub struct Constant {
    /// Its name and comment.
    pub named: Named,
    /// The field that it is a value of, `struct.field`: its comment begins with that.
    pub field: Option<String>,
    /// What it stands for.
    pub value: u64,
}

/// An enum of 32 bits.
#[derive(Debug)]
pub struct Enum {
    /// Its name and comment.
    pub named: Named,
    /// Its values.
    pub values: Vec<(Named, i32)>,
}

/// A struct or a union.
#[derive(Debug)]
pub struct Struct {
    /// Its name and comment.
    pub named: Named,
    /// Whether it is a union.
    pub is_union: bool,
    /// Its fields.
    pub fields: Vec<(Named, Type)>,
}

/// A function.
#[derive(Debug)]
pub struct Function {
    /// Its name and comment.
    pub named: Named,
    /// Names and types of what it takes.
    pub parameters: Vec<(String, Type)>,
    /// What it returns.
    pub returns: Type,
}

/// A C type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// By its name.
    Name(String),
    /// A pointer to something that may be changed by it, or not.
    Pointer {
        /// Whether it says `const`.
        is_const: bool,
        /// What it points to.
        to: Box<Type>,
    },
    /// A pointer to a function.
    Function {
        /// Names and types of what it takes.
        parameters: Vec<(String, Type)>,
        /// What it returns.
        returns: Box<Type>,
    },
}

impl Type {
    fn pointer(is_const: bool, to: Type) -> Self {
        Type::Pointer { is_const, to: Box::new(to) }
    }

    /// The declaration of something that has this name; the type alone for "".
    pub fn declare(&self, name: &str) -> String {
        match self {
            Type::Name(type_name) if name.is_empty() => type_name.clone(),
            Type::Name(type_name) => format!("{type_name} {name}"),
            Type::Pointer { is_const, to } => match &**to {
                Type::Name(type_name) if *is_const => format!("const {type_name} *{name}"),
                to => to.declare(&format!("{}*{name}", if *is_const { "const " } else { "" })),
            },
            Type::Function { parameters, returns } => {
                returns.declare(&format!("(*{name})({})", list(parameters).join(", ")))
            }
        }
    }
}

/// The declarations of parameters.
pub fn list(parameters: &[(String, Type)]) -> Vec<String> {
    match parameters {
        [] => vec!["void".to_owned()],
        _ => parameters.iter().map(|(name, kind)| kind.declare(name)).collect(),
    }
}

/// Reads the modules of the library in the order in which lib.rs names them.
pub fn read(src: &Path) -> Model {
    let mut model = Model::default();
    for item in parse(&src.join("lib.rs")).items {
        if let Item::Mod(module) = item {
            let items = parse(&src.join(format!("{}.rs", module.ident))).items;
            items.iter().for_each(|item| model.take(item));
        }
    }
    model
}

fn parse(path: &Path) -> syn::File {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Model {
    fn take(&mut self, item: &Item) {
        match item {
            Item::Const(it) if is_ours(&it.ident) && is_public(&it.vis) => {
                let mut named = named(&it.ident, &it.attrs);
                let value = number(&it.expr).unwrap_or_else(|| panic!("{} is not a number", it.ident));
                self.constants.push(Constant { field: field_of(&mut named), named, value });
            }
            Item::Enum(it) if is_ours(&it.ident) => {
                let values = it.variants.iter().map(|variant| {
                    let value = variant.discriminant.as_ref().and_then(|(_, value)| number(value));
                    let value = value.unwrap_or_else(|| panic!("{} has no value", variant.ident));
                    (named(&variant.ident, &variant.attrs), i32::try_from(value).expect("32 bits"))
                });
                self.enums.push(Enum { values: values.collect(), named: named(&it.ident, &it.attrs) });
            }
            Item::Struct(it) if is_ours(&it.ident) => match &it.fields {
                Fields::Named(fields) if is_c(&it.attrs) => self.take_struct(&it.ident, &it.attrs, fields, false),
                _ => self.opaque.push(named(&it.ident, &it.attrs)),
            },
            Item::Union(it) if is_ours(&it.ident) => self.take_struct(&it.ident, &it.attrs, &it.fields, true),
            Item::Fn(it) if is_ours(&it.sig.ident) && it.sig.abi.is_some() => {
                let parameters = it.sig.inputs.iter().map(|parameter| match parameter {
                    FnArg::Typed(typed) => match &*typed.pat {
                        Pat::Ident(name) => (name.ident.to_string(), c_type(&typed.ty)),
                        _ => panic!("{}: a parameter without a name", it.sig.ident),
                    },
                    FnArg::Receiver(_) => panic!("{} is a method", it.sig.ident),
                });
                self.functions.push(Function {
                    parameters: parameters.collect(),
                    returns: returned(&it.sig.output),
                    named: named(&it.sig.ident, &it.attrs),
                });
            }
            _ => {}
        }
    }

    fn take_struct(&mut self, name: &syn::Ident, attrs: &[syn::Attribute], fields: &syn::FieldsNamed, is_union: bool) {
        let fields = fields.named.iter().map(|field| {
            let name = field.ident.as_ref().expect("a field with a name");
            (named(name, &field.attrs), c_type(&field.ty))
        });
        self.structs.push(Struct { fields: fields.collect(), is_union, named: named(name, attrs) });
    }
}

fn is_ours(name: &syn::Ident) -> bool {
    let name = name.to_string();
    name.starts_with("segment_") || name.starts_with("SEGMENT_")
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

fn is_c(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident("repr"))
}

fn named(name: &syn::Ident, attrs: &[syn::Attribute]) -> Named {
    let docs = attrs.iter().filter(|attr| attr.path().is_ident("doc")).filter_map(|attr| match &attr.meta {
        syn::Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let docs = docs.map(|line| line.strip_prefix(' ').unwrap_or(&line).to_owned());
    Named { name: name.to_string(), docs: docs.collect() }
}

/// `struct.field: What it does.`
fn field_of(named: &mut Named) -> Option<String> {
    let first = named.docs.first_mut()?;
    let (field, rest) = first.split_once(": ")?;
    let is_field = field.starts_with("segment_") && field.contains('.') && !field.contains(' ');
    let (field, rest) = is_field.then(|| (field.to_owned(), rest.to_owned()))?;
    let mut letters = rest.chars();
    *first =
        letters.next().map_or(String::new(), |letter| letter.to_uppercase().collect::<String>() + letters.as_str());
    Some(field)
}

fn number(expression: &Expr) -> Option<u64> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) => number.base10_parse().ok(),
        _ => None,
    }
}

fn returned(output: &ReturnType) -> Type {
    match output {
        ReturnType::Default => Type::Name("void".to_owned()),
        ReturnType::Type(_, kind) => c_type(kind),
    }
}

/// What Rust's type is to C. References and boxes are pointers, in an `Option` they may be NULL.
fn c_type(kind: &Rust) -> Type {
    match kind {
        Rust::Ptr(pointer) => {
            Type::pointer(matches!(pointer.mutability, PointerMutability::Const(_)), c_type(&pointer.elem))
        }
        Rust::Reference(reference) => Type::pointer(reference.mutability.is_none(), c_type(&reference.elem)),
        Rust::FnPtr(function) => {
            let parameters = function.inputs.iter().map(|parameter| {
                let name = parameter.name.as_ref().map(|(name, _)| name.to_string()).unwrap_or_default();
                (name, c_type(&parameter.ty))
            });
            Type::Function { parameters: parameters.collect(), returns: Box::new(returned(&function.output)) }
        }
        Rust::Path(path) => {
            let last = path.path.segments.last().expect("a path with a name");
            let inner = match &last.arguments {
                PathArguments::AngleBracketed(arguments) => arguments.args.first(),
                _ => None,
            };
            match (last.ident.to_string().as_str(), inner) {
                ("Option", Some(GenericArgument::Type(inner))) => c_type(inner),
                ("Box", Some(GenericArgument::Type(inner))) => Type::pointer(false, c_type(inner)),
                ("Text", None) => Type::pointer(true, Type::Name("char".to_owned())),
                (name, None) => Type::Name(c_name(name).to_owned()),
                _ => panic!("a type that C does not know"),
            }
        }
        _ => panic!("a type that C does not know"),
    }
}

fn c_name(rust: &str) -> &str {
    match rust {
        "u8" => "uint8_t",
        "u32" => "uint32_t",
        "i32" => "int32_t",
        "u64" => "uint64_t",
        "i64" => "int64_t",
        "f64" => "double",
        "usize" => "size_t",
        "c_char" => "char",
        "c_void" => "void",
        name if name == "bool" || name.starts_with("segment_") => name,
        name => panic!("{name} is not a C type"),
    }
}
