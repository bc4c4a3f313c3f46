//! Image references: which product an image is, and which vLLM release its tag tells.

use super::super::engine::Version;

/// The parts of an image reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image<'a> {
    /// Registry and path, without tag and digest, without `docker.io/` and `library/`.
    pub repository: &'a str,
    /// The tag; `None` also when a digest alone is given.
    pub tag: Option<&'a str>,
    /// A digest is given: the tag beside it is then only a comment of its author.
    pub digest: bool,
}

/// What an image is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// A build of vLLM.
    Vllm {
        /// The tag is vLLM's own release, and not a vendor's.
        tag_is_release: bool,
        /// Built to run without an accelerator.
        cpu: bool,
        /// The image starts the OpenAI server by itself; otherwise its arguments name a program.
        serves: bool,
    },
    /// Another product.
    Product(&'static str),
}

/// Images of vLLM by the last part of their path: name, tag is vLLM's release, without accelerator, starts the server.
///
/// Sources: vLLM's own repositories on Docker Hub and its CPU builds on public ECR; NVIDIA's `nvcr.io/nvidia/vllm` (date
/// tags); Google's Model Garden `pytorch-vllm-serve` (date tags); Red Hat AI Inference Server `rhaiis/vllm-*-rhel9` (tags of
/// the product); AMD's `rocm/vllm`; the Gaudi and Ascend builds, whose tags count their own releases.
const VLLM: [(&str, bool, bool, bool); 22] = [
    ("vllm-openai", true, false, true),
    ("vllm-openai-cpu", true, true, true),
    ("vllm-openai-rocm", true, false, true),
    ("vllm-openai-xpu", true, false, true),
    ("vllm-openai-aarch64", true, false, true),
    ("vllm-tpu", true, false, false),
    ("vllm-cpu", true, true, true),
    ("vllm-cpu-env", false, true, true),
    ("vllm-cpu-release-repo", true, true, true),
    ("vllm-arm64-cpu-release-repo", true, true, true),
    ("vllm-release-repo", true, false, true),
    ("vllm-rocm", true, false, false),
    ("vllm-dev", false, false, false),
    ("vllm-gaudi", false, false, true),
    ("vllm-hpu", false, false, true),
    ("vllm-ascend", false, false, false),
    ("pytorch-vllm-serve", false, false, false),
    ("vllm-cuda-rhel9", false, false, true),
    ("vllm-rocm-rhel9", false, false, true),
    ("vllm-tpu-rhel9", false, false, true),
    ("vllm-neuron-rhel9", false, false, true),
    ("vllm-cpu-rhel9", false, true, true),
];

/// Full repositories whose last part alone would prove nothing.
const VLLM_REPOSITORIES: [(&str, bool); 4] =
    [("nvcr.io/nvidia/vllm", false), ("rocm/vllm", false), ("intel/vllm", false), ("intelanalytics/vllm", false)];

/// Owners that rebuild `vllm-openai` under versions of their own.
const OWN_TAGS: [&str; 1] = ["lmcache"];

/// Other products by a whole part of the image's path.
const PRODUCTS: [(&str, &str); 20] = [
    ("llama.cpp", "llama.cpp"),
    ("llama-cpp", "llama.cpp"),
    ("llama-cpp-python", "llama.cpp"),
    ("sglang", "SGLang"),
    ("text-generation-inference", "Text Generation Inference"),
    ("huggingface-text-generation-inference-cu124", "Text Generation Inference"),
    ("text-embeddings-inference", "Text Embeddings Inference"),
    ("tritonserver", "Triton Inference Server"),
    ("torchserve", "TorchServe"),
    ("torchserve-kfs", "TorchServe"),
    ("tensorrt-llm", "TensorRT-LLM"),
    ("huggingfaceserver", "KServe"),
    ("kserve", "KServe"),
    ("ai-dynamo", "NVIDIA Dynamo"),
    ("ollama", "Ollama"),
    ("lmdeploy", "LMDeploy"),
    ("lmstack-router", "vLLM production stack router"),
    ("jetstream-http", "JetStream"),
    ("jetstream-pytorch-server", "JetStream"),
    ("maxengine-server", "JetStream"),
];

// === impl Image ===

impl<'a> Image<'a> {
    /// Takes a reference apart. Never fails: what is no reference has an unknown repository and no tag.
    pub fn parse(reference: &'a str) -> Self {
        let (rest, digest) = match reference.split_once('@') {
            Some((rest, _)) => (rest, true),
            None => (reference, false),
        };
        // A colon before the last slash belongs to the registry's port.
        let path_start = rest.rfind('/').map_or(0, |at| at + 1);
        let tag_at = rest.get(path_start..).and_then(|last| last.find(':')).map(|at| at + path_start);
        let (repository, tag) = match tag_at {
            Some(at) => (rest.get(..at).unwrap_or(rest), rest.get(at + 1..)),
            None => (rest, None),
        };
        let repository = ["docker.io/", "index.docker.io/", "library/"]
            .iter()
            .fold(repository, |name, prefix| name.strip_prefix(prefix).unwrap_or(name));
        Self { repository, tag: tag.filter(|tag| !tag.is_empty()), digest }
    }

    /// What the image is known to be, by its path alone: a name that merely contains `vllm` is no evidence.
    pub fn known(&self) -> Option<Known> {
        let last = self.repository.rsplit('/').next().unwrap_or("");
        if let Some(&(_, tag_is_release, cpu, serves)) = VLLM.iter().find(|row| row.0 == last) {
            let own = self.repository.split('/').any(|part| OWN_TAGS.contains(&part));
            let cpu = cpu || self.tag.is_some_and(|tag| tag.split('-').any(|part| part == "cpu"));
            return Some(Known::Vllm { tag_is_release: tag_is_release && !own, cpu, serves });
        }
        let repository = |name: &str| self.repository == name || self.repository.ends_with(&format!("/{name}"));
        if let Some(&(_, serves)) = VLLM_REPOSITORIES.iter().find(|row| repository(row.0)) {
            return Some(Known::Vllm { tag_is_release: false, cpu: false, serves });
        }
        if self.repository.starts_with("nvcr.io/nim/") || self.repository.contains("/nim/") {
            return Some(Known::Product("NVIDIA NIM"));
        }
        self.repository
            .split('/')
            .find_map(|part| PRODUCTS.iter().find(|row| row.0 == part))
            .map(|row| Known::Product(row.1))
    }

    /// The vLLM release that the tag tells: `v0.11.0`, `0.6.6.post1`, `v0.11.0-cu128`, `v0.8.5.1`. `None` for `latest`,
    /// `nightly`, a vendor's tag, no tag, and a bare digest. AMD's `rocm6.3.1_vllm_0.8.5_20250521` is a development build
    /// past that release (0.8.6.dev by AMD's version history of the image).
    pub fn release(&self) -> Option<Version> {
        let tag = self.tag?;
        match self.known() {
            Some(Known::Vllm { tag_is_release: true, .. }) => plain_release(tag),
            _ => None,
        }
    }
}

/// Reads `vX.Y.Z` with anything behind. A major version above 0 is a vendor's count (vLLM itself is at 0.x), and a minor
/// one of more than three digits is a date. A candidate or a development build (`v0.12.0rc1`, `0.11.1.dev7`) lies between two
/// releases and exports what either of them does.
pub(super) fn plain_release(tag: &str) -> Option<Version> {
    let end = tag.find(['-', '_', '+']).unwrap_or(tag.len());
    let words = tag.split(|c: char| !c.is_ascii_alphabetic());
    if words.into_iter().any(|word| matches!(word, "rc" | "dev" | "alpha" | "beta" | "a" | "b" | "nightly" | "pre")) {
        return None;
    }
    let version = Version::parse(tag.get(..end)?)?;
    (version.major == 0 && version.minor < 1000).then_some(version)
}
