//! The names of images in a cluster whose images came from archives.
//!
//! `docker save` writes tags and no digests, so a node that has an image from there does not know it by its digest, and asks
//! a registry for it.

use serde_json::Value;

/// What stands between an image's tag and its digest.
const DIGEST: &str = "@sha256:";

/// Has an object name its images by their tags alone, where it pins them by digest as well.
pub fn name_by_tags(object: &mut Value) {
    match object {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(image) if name == "image" => cut_digest(image),
                    value => name_by_tags(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(name_by_tags),
        _ => {}
    }
}

/// Without a tag, the digest is all that there is.
fn cut_digest(image: &mut String) {
    if let Some((name, _)) = image.split_once(DIGEST)
        && name.rsplit('/').next().is_some_and(|last| last.contains(':'))
    {
        image.truncate(name.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_has_a_tag_loses_its_digest_wherever_it_is_named() {
        let mut object = json!({"resources": [
            {"base": {"image": "curlimages/curl:8.11.1@sha256:c1fe"}, "image": "localhost:5000/a@sha256:c1fe"},
            {"image": "postgres:16-alpine", "digest": "a:1@sha256:c1fe"},
        ]});
        name_by_tags(&mut object);
        let expected = json!({"resources": [
            {"base": {"image": "curlimages/curl:8.11.1"}, "image": "localhost:5000/a@sha256:c1fe"},
            {"image": "postgres:16-alpine", "digest": "a:1@sha256:c1fe"},
        ]});
        assert_eq!(object, expected);
    }
}
