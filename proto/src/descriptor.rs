//! The schema as data: messages, fields, services and their comments, looked up by name.

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto,
};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The package all names are in.
pub const PACKAGE: &str = "proffer.v1";

/// A part of the schema with the comment that stands before it.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a, T> {
    /// The part.
    pub part: &'a T,
    /// Its comment: one paragraph, or empty.
    pub comment: &'a str,
}

/// A message and what the schema says of it.
#[derive(Debug)]
pub struct Message {
    /// The message.
    pub descriptor: DescriptorProto,
    /// Its comment.
    pub comment: String,
    /// Comments of its fields, in their order.
    pub field_comments: Vec<String>,
}

/// An rpc and what the schema says of it.
#[derive(Debug)]
pub struct Method {
    /// Its service: `OperatorService`.
    pub service: String,
    /// The rpc.
    pub descriptor: MethodDescriptorProto,
    /// Its comment.
    pub comment: String,
}

/// All of the schema.
#[derive(Debug, Default)]
pub struct Schema {
    /// By name without the package: `Call`, `Call.Subscribe`.
    pub messages: BTreeMap<String, Message>,
    /// By name without the package, with their comments.
    pub enums: BTreeMap<String, (EnumDescriptorProto, String)>,
    /// In the order of the files.
    pub methods: Vec<Method>,
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(crate::pb::FILE_DESCRIPTOR_SET)
        .expect("the descriptor set is what the build wrote");
    let mut schema = Schema::default();
    for file in set.file.iter().filter(|file| file.package() == PACKAGE) {
        read_file(file, &mut schema);
    }
    schema
});

/// The schema of this program.
#[must_use]
pub fn schema() -> &'static Schema {
    &SCHEMA
}

/// Numbers of the fields of `FileDescriptorProto` and `DescriptorProto` as they stand in the paths
/// of comments.
mod path {
    pub(super) const FILE_MESSAGE: i32 = 4;
    pub(super) const FILE_ENUM: i32 = 5;
    pub(super) const FILE_SERVICE: i32 = 6;
    pub(super) const MESSAGE_FIELD: i32 = 2;
    pub(super) const MESSAGE_NESTED: i32 = 3;
    pub(super) const SERVICE_METHOD: i32 = 2;
}

type Comments = BTreeMap<Vec<i32>, String>;

fn read_file(file: &FileDescriptorProto, schema: &mut Schema) {
    let comments = comments(file);
    let at = |path: &[i32]| comments.get(path).cloned().unwrap_or_default();
    for (index, message) in (0..).zip(&file.message_type) {
        read_message(message, "", &[path::FILE_MESSAGE, index], &comments, schema);
    }
    for (index, item) in (0..).zip(&file.enum_type) {
        let comment = at(&[path::FILE_ENUM, index]);
        schema.enums.insert(item.name().to_owned(), (item.clone(), comment));
    }
    for (index, service) in (0..).zip(&file.service) {
        for (method_index, method) in (0..).zip(&service.method) {
            schema.methods.push(Method {
                service: service.name().to_owned(),
                descriptor: method.clone(),
                comment: at(&[path::FILE_SERVICE, index, path::SERVICE_METHOD, method_index]),
            });
        }
    }
}

fn read_message(
    message: &DescriptorProto,
    outer: &str,
    at: &[i32],
    comments: &Comments,
    schema: &mut Schema,
) {
    let name = format!("{outer}{}", message.name());
    let comment = |tail: &[i32]| comments.get(&[at, tail].concat()).cloned().unwrap_or_default();
    for (index, nested) in (0..).zip(&message.nested_type) {
        let at = [at, &[path::MESSAGE_NESTED, index]].concat();
        read_message(nested, &format!("{name}."), &at, comments, schema);
    }
    let fields = (0..).zip(&message.field);
    let described = Message {
        descriptor: message.clone(),
        comment: comment(&[]),
        field_comments: fields.map(|(i, _)| comment(&[path::MESSAGE_FIELD, i])).collect(),
    };
    schema.messages.insert(name, described);
}

fn comments(file: &FileDescriptorProto) -> Comments {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations
        .filter(|location| location.leading_comments.is_some())
        .map(|location| {
            let lines = location.leading_comments().lines().map(str::trim);
            (location.path.clone(), lines.collect::<Vec<_>>().join(" ").trim().to_owned())
        })
        .collect()
}

impl Schema {
    /// The message of that name, without the package.
    #[must_use]
    pub fn message(&self, name: &str) -> Option<&Message> {
        self.messages.get(name)
    }
}

impl Message {
    /// Its fields with their comments.
    pub fn fields(&self) -> impl Iterator<Item = Described<'_, FieldDescriptorProto>> {
        self.descriptor
            .field
            .iter()
            .zip(&self.field_comments)
            .map(|(part, comment)| Described { part, comment })
    }

    /// The field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FieldDescriptorProto> {
        self.descriptor.field.iter().find(|field| field.name() == name)
    }

    /// Whether it is the entry type that stands for a map.
    #[must_use]
    pub fn is_map_entry(&self) -> bool {
        self.descriptor.options.as_ref().is_some_and(|options| options.map_entry())
    }
}

/// What a field holds, in the words of the schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FieldKind {
    /// A scalar: `uint64`, `string`, ….
    Scalar(&'static str),
    /// An enum of the schema.
    Enum(String),
    /// A message of the schema.
    Message(String),
}

impl FieldKind {
    /// Reads the kind of `field`; names lose the package.
    #[must_use]
    pub fn of(field: &FieldDescriptorProto) -> Self {
        let name = || {
            let prefix = format!(".{PACKAGE}.");
            field.type_name().strip_prefix(&prefix).unwrap_or(field.type_name()).to_owned()
        };
        match field.r#type() {
            Type::Message | Type::Group => Self::Message(name()),
            Type::Enum => Self::Enum(name()),
            Type::Double => Self::Scalar("double"),
            Type::Float => Self::Scalar("float"),
            Type::Int64 => Self::Scalar("int64"),
            Type::Uint64 => Self::Scalar("uint64"),
            Type::Int32 => Self::Scalar("int32"),
            Type::Fixed64 => Self::Scalar("fixed64"),
            Type::Fixed32 => Self::Scalar("fixed32"),
            Type::Bool => Self::Scalar("bool"),
            Type::String => Self::Scalar("string"),
            Type::Bytes => Self::Scalar("bytes"),
            Type::Uint32 => Self::Scalar("uint32"),
            Type::Sfixed32 => Self::Scalar("sfixed32"),
            Type::Sfixed64 => Self::Scalar("sfixed64"),
            Type::Sint32 => Self::Scalar("sint32"),
            Type::Sint64 => Self::Scalar("sint64"),
        }
    }

    /// The name as the schema writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Scalar(name) => name,
            Self::Enum(name) | Self::Message(name) => name,
        }
    }
}

/// Whether `field` is a list (or a map).
#[must_use]
pub fn is_repeated(field: &FieldDescriptorProto) -> bool {
    field.label() == Label::Repeated
}

/// Whether absence of `field` can be told from its zero.
#[must_use]
pub fn has_presence(field: &FieldDescriptorProto) -> bool {
    !is_repeated(field)
        && (field.proto3_optional()
            || field.oneof_index.is_some()
            || field.r#type() == Type::Message)
}
