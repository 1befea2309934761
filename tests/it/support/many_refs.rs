//! An image of the registry view that has a great many refs, without their manifests: what a publish of one more tag reads must not
//! depend on them.

use serde_json::{Value, json};

use super::layout::{MANIFEST, REF_NAME};

/// The documents of an image `app` that follow from its refs.
pub struct Documents {
    /// `oci-index/app`.
    pub index: Value,
    /// `v2/app/_facts.json`.
    pub facts: Value,
    /// `v2/app/tags/list`.
    pub tags: Value,
}

impl Documents {
    /// The path of each document, with the document.
    pub fn each(&mut self) -> [(&'static str, &mut Value); 3] {
        let Documents { index, facts, tags } = self;
        [("oci-index/app", index), ("v2/app/_facts.json", facts), ("v2/app/tags/list", tags)]
    }

    /// Adds `count` entries without their manifests. Every tenth is a referrer of the entry before it; each other one has a ref.
    pub fn add(&mut self, count: usize) {
        let digest = |number: usize| format!("sha256:{number:064x}");
        for number in 1..=count {
            let mut entry = json!({"mediaType": MANIFEST, "digest": digest(number), "size": 7});
            let mut relation = json!({});
            match number % 10 {
                0 => relation = json!({"descriptor": entry, "subject": digest(number - 1)}),
                _ => {
                    let tag = format!("v{number:06}");
                    entry["annotations"] = json!({REF_NAME: tag});
                    self.tags["tags"].as_array_mut().unwrap().push(tag.into());
                }
            }
            self.index["manifests"].as_array_mut().unwrap().push(entry);
            self.facts["manifests"][digest(number)] = relation;
        }
    }
}
