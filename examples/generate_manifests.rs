//! Writes a folder of made-up manifests, always the same for the same arguments, to see what a large review costs:
//!
//! ```text
//! cargo run --release --example generate_manifests -- FOLDER 10000                          one file an object
//! cargo run --release --example generate_manifests -- FOLDER 10000 --without-namespaces
//! cargo run --release --example generate_manifests -- FILE 50 --one-file                    50 MB of documents in FILE
//! ```
//!
//! Five objects make an application: a vLLM Deployment, its Service, HorizontalPodAutoscaler, PodMonitoring and
//! ConfigMap. One application in ten has a fault.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Applications of one namespace.
const PER_NAMESPACE: usize = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let plain: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let (Some(path), Some(amount)) = (plain.first(), plain.get(1).and_then(|text| text.parse::<usize>().ok())) else {
        eprintln!("usage: generate_manifests PATH AMOUNT [--without-namespaces] [--one-file]");
        return ExitCode::from(2);
    };
    let namespaces = !flag("--without-namespaces");
    let result = if flag("--one-file") {
        one_file(Path::new(path), amount << 20, namespaces)
    } else {
        folder(Path::new(path), amount, namespaces)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generate_manifests: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn folder(path: &Path, count: usize, namespaces: bool) -> io::Result<()> {
    fs::create_dir_all(path)?;
    for (index, text) in (0..).flat_map(|app| objects(app, namespaces)).take(count).enumerate() {
        fs::write(path.join(format!("{index:06}.yaml")), text)?;
    }
    Ok(())
}

fn one_file(path: &Path, bytes: usize, namespaces: bool) -> io::Result<()> {
    let mut out = io::BufWriter::new(fs::File::create(path)?);
    let mut written = 0;
    for text in (0..).flat_map(|app| objects(app, namespaces)) {
        if written + text.len() > bytes {
            break;
        }
        written += text.len();
        out.write_all(text.as_bytes())?;
    }
    out.flush()
}

/// The five objects of an application.
fn objects(app: usize, namespaces: bool) -> [String; 5] {
    let fault = if app % 10 == 9 { app / 10 % 6 } else { usize::MAX };
    let name = format!("llm-{app:05}");
    let namespace = if namespaces { format!("\n  namespace: team-{:03}", app / PER_NAMESPACE) } else { String::new() };
    let head = |api_version: &str, kind: &str, labels: &str| {
        format!(
            "---\napiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: {name}{namespace}\n  labels:\n    \
             app.kubernetes.io/name: {name}\n    app.kubernetes.io/part-of: serving{labels}\n"
        )
    };
    let label = if app.is_multiple_of(4) { "\n    scalegate.dev/autoscale: throughput" } else { "" };
    let mut deployment = head("apps/v1", "Deployment", label);
    let arguments = if fault == 0 { "args:" } else { "args" };
    let gpu = if fault == 1 { "cpu: \"8\"" } else { "nvidia.com/gpu: 1" };
    let port = if fault == 2 { 9000 } else { 8000 };
    let _ = write!(
        deployment,
        "spec:
  selector:
    matchLabels:
      app.kubernetes.io/name: {name}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: {name}
    spec:
      terminationGracePeriodSeconds: 120
      nodeSelector:
        cloud.google.com/gke-accelerator: nvidia-l4
      tolerations:
      - key: nvidia.com/gpu
        operator: Exists
        effect: NoSchedule
      containers:
      - name: server
        image: vllm/vllm-openai:v0.{}.{}
        command: [python3, -m, vllm.entrypoints.openai.api_server]
        {arguments}:
        - --model=google/gemma-{app}-it
        - --port=8000
        - --max-num-seqs={}
        - --gpu-memory-utilization=0.92
        env:
        - name: HUGGING_FACE_HUB_TOKEN
          valueFrom:
            secretKeyRef: {{name: hub, key: token}}
        - name: VLLM_LOGGING_LEVEL
          value: INFO
        envFrom:
        - configMapRef:
            name: {name}
        ports:
        - name: http
          containerPort: {port}
        resources:
          requests:
            cpu: \"4\"
            memory: 24Gi
          limits:
            memory: 24Gi
            {gpu}
        readinessProbe:
          httpGet: {{path: /health, port: http}}
          periodSeconds: 5
        volumeMounts:
        - name: shm
          mountPath: /dev/shm
        - name: cache
          mountPath: /root/.cache
      - name: gateway
        image: envoyproxy/envoy:v1.31.2
        args: [-c, /etc/envoy/envoy.yaml]
        ports:
        - containerPort: 8080
      volumes:
      - name: shm
        emptyDir:
          medium: Memory
          sizeLimit: 8Gi
      - name: cache
        emptyDir: {{}}
",
        app % 6 + 6,
        app % 3,
        16 << (app % 4),
    );

    let mut service = head("v1", "Service", "");
    let _ = write!(
        service,
        "spec:\n  selector:\n    app.kubernetes.io/name: {name}\n  ports:\n  - name: http\n    port: 80\n    targetPort: http\n"
    );

    let metric = if fault == 3 { "vllm:num_request_waiting" } else { "vllm:num_requests_waiting" };
    let suffix = if fault == 4 { "counter" } else { "gauge" };
    let target = if fault == 5 { app.saturating_sub(1) } else { app };
    let mut hpa = head("autoscaling/v2", "HorizontalPodAutoscaler", "");
    let _ = write!(
        hpa,
        "spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: llm-{target:05}
  minReplicas: 1
  maxReplicas: {}
  metrics:
  - type: Pods
    pods:
      metric:
        name: prometheus.googleapis.com|{metric}|{suffix}
      target:
        type: AverageValue
        averageValue: {}
  behavior:
    scaleDown:
      stabilizationWindowSeconds: 300
      policies:
      - type: Pods
        value: 1
        periodSeconds: 120
",
        app % 7 + 2,
        app % 9 + 2,
    );

    let mut monitoring = head("monitoring.googleapis.com/v1", "PodMonitoring", "");
    let _ = write!(
        monitoring,
        "spec:\n  selector:\n    matchLabels:\n      app.kubernetes.io/name: {name}\n  endpoints:\n  - port: 8000\n    \
         path: /metrics\n    interval: 15s\n"
    );

    let mut config_map = head("v1", "ConfigMap", "");
    let _ = write!(
        config_map,
        "data:\n  MODEL_REVISION: main\n  prompt.txt: |\n    You answer questions about application {app}.\n    Be short.\n"
    );
    [deployment, service, hpa, monitoring, config_map]
}
