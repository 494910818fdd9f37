//! The custom resource definition as a manifest.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::CustomResourceExt;

use super::Pipeline;

/// Fields whose types are Kubernetes' own.
///
/// Their insides keep the schema and lose the descriptions, which `kubectl explain pod` has, too:
/// with them the definition would not fit into the annotation that `kubectl apply` makes.
const FOREIGN: &[&str] = &[
    "affinity",
    "conditions",
    "emptyDir",
    "nodeAffinity",
    "persistentVolumeClaim.spec",
    "resources",
    "tolerations",
];

/// The custom resource definition of a Pipeline.
#[must_use]
pub fn definition() -> CustomResourceDefinition {
    let mut definition = Pipeline::crd();
    for version in &mut definition.spec.versions {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            trim(schema, "");
            allow_no_spec(schema);
            declare_name(schema);
        }
    }
    definition
}

/// Lets a Pipeline be without a spec: it is the one with `spec: {}`.
///
/// Needed even by those who write `spec: {}`: when everything is taken out of a spec, server-side apply
/// leaves `null` behind, which the API server replaces by a default and refuses without one.
fn allow_no_spec(schema: &mut JSONSchemaProps) {
    let spec = schema
        .properties
        .as_mut()
        .and_then(|all| all.get_mut("spec"));
    if let Some(spec) = spec {
        spec.default = Some(JSON(serde_json::json!({})));
    }
}

/// Declares the name, which every object has: rules that speak of it can name it as their field then.
fn declare_name(schema: &mut JSONSchemaProps) {
    let of_type = |kind: &str| JSONSchemaProps {
        type_: Some(kind.to_owned()),
        ..JSONSchemaProps::default()
    };
    let mut metadata = of_type("object");
    let name = ("name".to_owned(), of_type("string"));
    metadata.properties = Some([name].into());
    let properties = schema.properties.get_or_insert_default();
    properties.insert("metadata".to_owned(), metadata);
}

/// The CRD as YAML, the output of `pipeline-operator crd`.
///
/// # Panics
/// Never in practice: the definition is made of types known at compile time.
#[must_use]
pub fn crd_yaml() -> String {
    match serde_saphyr::to_string(&definition()) {
        Ok(text) => text,
        Err(error) => unreachable!("the definition is plain data: {error}"),
    }
}

/// Looks for foreign fields below `schema`, the schema of the field called `name`.
fn trim(schema: &mut JSONSchemaProps, name: &str) {
    for (field, inner) in schema.properties.iter_mut().flatten() {
        let path = format!("{name}.{field}");
        if FOREIGN
            .iter()
            .any(|foreign| *foreign == field || *foreign == path)
        {
            silence_below(inner);
        } else {
            trim(inner, field);
        }
    }
}

/// Removes every description below `schema`, not its own.
fn silence_below(schema: &mut JSONSchemaProps) {
    let fields = schema
        .properties
        .iter_mut()
        .flatten()
        .map(|(_, inner)| inner);
    let items = schema.items.iter_mut().flat_map(|items| match items {
        JSONSchemaPropsOrArray::Schema(inner) => vec![inner.as_mut()],
        JSONSchemaPropsOrArray::Schemas(inner) => inner.iter_mut().collect(),
    });
    for inner in fields.chain(items) {
        inner.description = None;
        silence_below(inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_fits_into_kubectls_annotation() {
        let size = serde_json::to_vec(&definition()).unwrap().len();
        assert!(size < 120_000, "{size} bytes");
    }

    #[test]
    fn the_definition_has_the_promised_names() {
        let definition = definition();
        assert_eq!(
            definition.metadata.name.as_deref(),
            Some("pipeline.kubernetes.lol")
        );
        let names = &definition.spec.names;
        assert_eq!(
            (names.plural.as_str(), names.kind.as_str()),
            ("pipeline", "Pipeline")
        );
        assert_eq!(
            names.short_names.as_deref(),
            Some(&["pl".into()][..]),
            "no word of another product's: `kubectl delete pipelines --all` may mean that one"
        );
        assert_eq!(
            names.categories, None,
            "`kubectl delete all --all` deletes no databases"
        );
        let columns = definition.spec.versions[0]
            .additional_printer_columns
            .iter()
            .flatten();
        let columns: Vec<&str> = columns.map(|column| column.name.as_str()).collect();
        assert_eq!(
            columns,
            ["Master", "Replicas", "Dukes", "Status", "Age", "Reason"]
        );
    }

    #[test]
    fn everything_may_be_taken_out_of_a_spec_again() {
        let definition = definition();
        let schema = definition.spec.versions[0].schema.as_ref().unwrap();
        let schema = schema.open_api_v3_schema.as_ref().unwrap();
        let spec = &schema.properties.as_ref().unwrap()["spec"];
        let sections = ["pipeline", "duke"].map(|name| &spec.properties.as_ref().unwrap()[name]);
        for schema in [spec].into_iter().chain(sections) {
            assert!(schema.default.is_some(), "{:?}", schema.description);
        }
    }

    #[test]
    fn a_refused_name_is_named_as_the_field() {
        let definition = definition();
        let schema = definition.spec.versions[0].schema.as_ref().unwrap();
        let schema = schema.open_api_v3_schema.as_ref().unwrap();
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            let field = rule.field_path.as_deref();
            assert_eq!(field, Some(".metadata.name"), "{}", rule.rule);
        }
        let metadata = &schema.properties.as_ref().unwrap()["metadata"];
        assert!(metadata.properties.as_ref().unwrap().contains_key("name"));
    }

    #[test]
    fn the_manifest_is_the_definition() {
        let read: CustomResourceDefinition = serde_saphyr::from_str(&crd_yaml()).unwrap();
        assert_eq!(read, definition());
    }
}
