//! An OpenAPI 3.1 document: its operations, and validators for their bodies.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::{Draft, Registry, Validator};
use serde_json::{Value, json};

/// The variable that names the file.
pub const VARIABLE: &str = "PLEXSPHERE_OPENAPI";
/// The name of the document among the schemas; it is never fetched.
const DOCUMENT: &str = "urn:openapi";
/// The methods of a path item.
const METHODS: &[&str] = &["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The document could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is neither YAML nor JSON.
    #[error("understand the document: {0}")]
    Syntax(#[from] serde_norway::Error),
    /// It is of another kind.
    #[error("the document is not OpenAPI 3.1: {0}")]
    Kind(String),
    /// Its schemas do not hold together.
    #[error("resolve the document's schemas: {0}")]
    Schemas(String),
}

/// An operation.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Its `operationId`; the method and path when it has none.
    pub id: String,
    /// HTTP method in capitals.
    pub method: String,
    /// Path with `{parameters}`.
    pub path: String,
    /// Where a request's schema lies, if it has one; a JSON pointer.
    pub request: Option<String>,
    /// Whether a request must have a body.
    pub request_required: bool,
    /// By status (`200`, `4XX`, `default`): the answers' media types, and where their schemas lie.
    pub responses: BTreeMap<String, BTreeMap<String, Option<String>>>,
}

/// A document, ready for checks.
pub struct Spec {
    operations: Vec<Operation>,
    registry: Registry<'static>,
    words: BTreeSet<String>,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Spec {
    /// The document that [`VARIABLE`] names; none when it is unset or empty.
    ///
    /// # Errors
    /// [`SpecError`] when it is named but cannot be used.
    pub fn given() -> Result<Option<Self>, SpecError> {
        let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        path.map(|path| Self::read(Path::new(&path))).transpose()
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SpecError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Understands a document, as YAML or JSON.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let document: Value = serde_norway::from_str(text)?;
        match document["openapi"].as_str() {
            Some(version) if version.starts_with("3.1") => {}
            other => return Err(SpecError::Kind(format!("it says {other:?}"))),
        }
        let operations = operations(&document);
        let words = words(&document);
        let schemas = |error: &dyn std::fmt::Display| SpecError::Schemas(error.to_string());
        let registry = Registry::new()
            .draft(Draft::Draft202012)
            .add(DOCUMENT, document)
            .map_err(|error| schemas(&error))?
            .prepare()
            .map_err(|error| schemas(&error))?;
        Ok(Self { operations, registry, words, validators: Mutex::default() })
    }

    /// All operations, in the document's order.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operation of a request; a literal path wins over one with parameters.
    pub fn operation(&self, method: &str, path: &str) -> Option<&Operation> {
        let fitting =
            self.operations.iter().filter(|known| known.method == method && fits(&known.path, path));
        fitting.min_by_key(|known| known.path.matches('{').count())
    }

    /// Whether any operation has this path, whatever the method.
    pub fn knows_path(&self, path: &str) -> bool {
        self.operations.iter().any(|known| fits(&known.path, path))
    }

    /// Whether the document speaks of this problem code anywhere: codes are published in prose.
    pub fn knows_code(&self, code: &str) -> bool {
        self.words.contains(code)
    }

    /// The validator of the schema at a JSON pointer.
    ///
    /// # Errors
    /// [`SpecError::Schemas`] when there is no usable schema.
    pub fn validator(&self, pointer: &str) -> Result<Arc<Validator>, SpecError> {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = validators.get(pointer) {
            return Ok(known.clone());
        }
        let schema = json!({"$ref": format!("{DOCUMENT}#{}", in_uri(pointer))});
        let built = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            .with_registry(&self.registry)
            .build(&schema)
            .map_err(|error| SpecError::Schemas(format!("{pointer}: {error}")))?;
        let built = Arc::new(built);
        validators.insert(pointer.to_owned(), built.clone());
        Ok(built)
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let mut found = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if METHODS.contains(&method.as_str()) {
                let pointer = format!("/paths/{}/{method}", escaped(path));
                found.push(described(path, method, operation, &pointer));
            }
        }
    }
    found
}

fn described(path: &str, method: &str, operation: &Value, pointer: &str) -> Operation {
    let method = method.to_uppercase();
    let id = operation["operationId"].as_str().map_or_else(|| format!("{method} {path}"), str::to_owned);
    let request = operation.pointer("/requestBody/content/application~1json/schema");
    let responses = operation["responses"].as_object().into_iter().flatten().map(|(status, response)| {
        let content = response["content"].as_object().into_iter().flatten().map(|(media, described)| {
            let at = format!("{pointer}/responses/{status}/content/{}/schema", escaped(media));
            (media.clone(), described.get("schema").map(|_| at))
        });
        (status.clone(), content.collect())
    });
    Operation {
        id,
        path: path.to_owned(),
        request: request.map(|_| format!("{pointer}/requestBody/content/application~1json/schema")),
        request_required: operation.pointer("/requestBody/required") == Some(&Value::Bool(true)),
        responses: responses.collect(),
        method,
    }
}

/// A path segment for a JSON pointer.
fn escaped(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

/// A JSON pointer for the fragment of a URI.
fn in_uri(pointer: &str) -> String {
    pointer.replace('%', "%25").replace('{', "%7B").replace('}', "%7D").replace('+', "%2B")
}

fn fits(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted.starts_with('{') && !found.is_empty() => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => return false,
        }
    }
}

/// Every word of the document's texts that could be a code.
fn words(document: &Value) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut pending = vec![document];
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(fields) => pending.extend(fields.values()),
            Value::Array(items) => pending.extend(items),
            Value::String(text) => {
                let of_code =
                    |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
                words.extend(
                    text.split(|letter| !of_code(letter)).filter(|word| word.len() > 2).map(str::to_owned),
                );
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    words
}
