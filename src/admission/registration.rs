//! What the API server sends us: the webhooks' names, and which objects they are called for.

use crate::policy::objects::{Object, ObjectMeta};
use crate::policy::settings::{PREFIX, STATUS_PREFIX};

/// The name of the mutating webhook, which prefixes what the API server says about it.
pub const MUTATING_NAME: &str = "mutate.scalegate.dev";
/// The name of the validating webhook.
pub const VALIDATING_NAME: &str = "validate.scalegate.dev";

/// Whether the validating webhook is registered for an object: autoscalers always, workloads with a word to us.
pub fn validates(object: &Object) -> bool {
    match object {
        Object::Hpa(_) | Object::ScaledObject(_) => true,
        Object::Workload(_) => mutates(object),
        _ => false,
    }
}

/// Whether the mutating webhook is registered for an object: workloads with a word to us.
pub fn mutates(object: &Object) -> bool {
    match object {
        Object::Workload(workload) => {
            addressed(&workload.metadata)
                || addressed(&workload.template.metadata)
                || workload.lws.as_ref().is_some_and(|lws| addressed(&lws.worker.metadata))
        }
        _ => false,
    }
}

/// A label or annotation under our prefix. Not an object selector, which would never see a typo in the label's key.
fn addressed(metadata: &ObjectMeta) -> bool {
    let ours = |key: &String| key.starts_with(PREFIX) || key.starts_with(STATUS_PREFIX);
    metadata.labels.keys().chain(metadata.annotations.keys()).any(ours)
}
