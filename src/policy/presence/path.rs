//! Paths of the metrics APIs.

use std::fmt::Write as _;

use super::super::view::MetricApi;

/// Bytes of the longest name that is asked. The longest that Cloud Monitoring takes has 200 characters.
const LONGEST: usize = 512;
/// Characters of a namespace, which is a DNS label (RFC 1123).
const LONGEST_LABEL: usize = 63;

/// The path that asks for a metric in a namespace: of all pods, or the External one. `None` when namespace or name cannot
/// be one segment of a path.
pub fn query(api: MetricApi, version: &str, namespace: &str, name: &str) -> Option<String> {
    if !is_namespace(namespace) || !is_segment(name) {
        return None;
    }
    let (base, name) = (listing(api, version), encode(name));
    Some(match api {
        // The star is sent as it is, which is what the HPA controller does.
        MetricApi::Custom => format!("{base}/namespaces/{namespace}/pods/*/{name}"),
        MetricApi::External => format!("{base}/namespaces/{namespace}/{name}"),
    })
}

/// The path of the list of what an API serves.
pub fn listing(api: MetricApi, version: &str) -> String {
    match api {
        MetricApi::Custom => format!("/apis/custom.metrics.k8s.io/{version}"),
        MetricApi::External => format!("/apis/external.metrics.k8s.io/{version}"),
    }
}

/// A text as one segment of a path: every byte but the unreserved ones of RFC 3986 is percent-encoded.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Whether a name stays one segment after the API server decoded it. It decodes before it routes, so that an encoded slash
/// would lead to another path; the API server itself takes no such name (`ValidatePathSegmentName`).
pub(super) fn is_segment(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST
        && name != "."
        && name != ".."
        && !name.contains(['/', '%', '\\'])
        && !name.chars().any(char::is_control)
}

pub(super) fn is_namespace(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_LABEL
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_query_is_what_the_autoscaler_controller_sends_without_selectors() {
        assert_eq!(
            query(MetricApi::Custom, "v1beta2", "ml", "prometheus.googleapis.com|vllm:num_requests_running|gauge"),
            Some(
                "/apis/custom.metrics.k8s.io/v1beta2/namespaces/ml/pods/*/\
                 prometheus.googleapis.com%7Cvllm%3Anum_requests_running%7Cgauge"
                    .to_owned()
            )
        );
        assert_eq!(
            query(MetricApi::External, "v1beta1", "ml", "queue ä?x=1#"),
            Some("/apis/external.metrics.k8s.io/v1beta1/namespaces/ml/queue%20%C3%A4%3Fx%3D1%23".to_owned())
        );
    }

    #[test]
    fn what_would_lead_elsewhere_is_not_asked() {
        for name in ["", ".", "..", "a/b", "../../../api/v1/secrets", "a%2Fb", "a\\b", "a\nb", "a\0b"] {
            assert_eq!(query(MetricApi::Custom, "v1beta1", "ml", name), None, "{name:?}");
        }
        for namespace in ["", "..", "a/b", "A", "a%2F", "ä"] {
            assert_eq!(query(MetricApi::Custom, "v1beta1", namespace, "x"), None, "{namespace:?}");
        }
        assert_eq!(query(MetricApi::Custom, "v1beta1", "ml", &"x".repeat(513)), None);
    }

    proptest! {
        #[test]
        fn any_name_is_one_segment_of_plain_text(name in ".{0,80}") {
            if let Some(path) = query(MetricApi::External, "v1beta1", "ml", &name) {
                prop_assert_eq!(path.matches('/').count(), 6);
                prop_assert!(path.is_ascii() && !path.contains(['?', '#', ' ']));
            }
        }
    }
}
