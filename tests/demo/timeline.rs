//! What happened, second by second: the load, the metric as the adapter serves it to the autoscaler, and the replicas.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::{Api, list, text};
use crate::load::Load;
use crate::screen::Screen;

const EVERY: Duration = Duration::from_secs(1);

/// Where the labelled workloads are.
pub const NAMESPACE: &str = "serving";

/// One labelled Deployment, and what it is expected to scale on.
#[derive(Debug, Clone)]
pub struct Strategy {
    /// The value of the label.
    pub profile: &'static str,
    /// The Deployment, and the value of its pods' label `app`.
    pub name: &'static str,
    /// As the autoscaler asks for it.
    pub metric: &'static str,
    /// What one pod should have.
    pub target: f64,
    /// What the metric counts.
    pub unit: &'static str,
}

/// One moment of one workload.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// Seconds since the recording began.
    pub at: f64,
    /// Requests whose clients wait.
    pub in_flight: u32,
    /// The metric by pod.
    pub pods: BTreeMap<String, f64>,
    /// The replicas that the Deployment is to have.
    pub wanted: u32,
    /// Those that are ready.
    pub ready: u32,
}

impl Moment {
    /// The metric's average over the pods that have it.
    pub fn average(&self) -> Option<f64> {
        let count = u32::try_from(self.pods.len()).ok().filter(|count| *count > 0)?;
        Some(self.pods.values().sum::<f64>() / f64::from(count))
    }
}

/// A recording that goes on until the process ends.
#[derive(Clone)]
pub struct Timeline(Arc<Vec<(Strategy, Mutex<Vec<Moment>>)>>);

impl Timeline {
    /// Records these, and shows them on the screen.
    pub fn start(api: Api, strategies: &[Strategy], loads: Vec<Load>, screen: &Screen) -> Self {
        let tracks = strategies.iter().map(|strategy| (strategy.clone(), Mutex::default())).collect();
        let timeline = Self(Arc::new(tracks));
        let (recorder, screen) = (timeline.clone(), screen.clone());
        let began = Instant::now();
        thread::spawn(move || {
            loop {
                let mut rows = vec![HEAD.to_owned()];
                for ((strategy, track), load) in recorder.0.iter().zip(&loads) {
                    let moment = look(&api, strategy, load, began);
                    rows.push(row(strategy, &moment, load));
                    track.lock().unwrap_or_else(PoisonError::into_inner).push(moment);
                }
                screen.table(&rows);
                thread::sleep(EVERY);
            }
        });
        timeline
    }

    /// What was recorded so far.
    pub fn tracks(&self) -> Vec<(Strategy, Vec<Moment>)> {
        let tracks = self.0.iter();
        let copy = |track: &Mutex<Vec<Moment>>| track.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tracks.map(|(strategy, track)| (strategy.clone(), copy(track))).collect()
    }
}

/// Within the 80 columns of a terminal, for lines that wrap could not be replaced.
const HEAD: &str = "  workload     profile        in flight answered per pod/target  replicas";

fn row(strategy: &Strategy, moment: &Moment, load: &Load) -> String {
    let average = moment.average().map_or_else(|| "-".to_owned(), |average| format!("{average:.1}"));
    let bar = "#".repeat(moment.ready as usize) + &".".repeat(moment.wanted.saturating_sub(moment.ready) as usize);
    format!(
        "  {:<12} {:<14} {:>9} {:>8} {:>7}/{:<6}  {} of {} {}",
        strategy.name,
        strategy.profile,
        moment.in_flight,
        load.answered(),
        average,
        strategy.target,
        moment.ready,
        moment.wanted,
        bar,
    )
}

fn look(api: &Api, strategy: &Strategy, load: &Load, began: Instant) -> Moment {
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{}", strategy.name);
    let deployment = api.get(&path).unwrap_or_default();
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    let metric = strategy.metric.replace('|', "%7C");
    let selector = format!("labelSelector=app%3D{}", strategy.name);
    let path = format!("/apis/custom.metrics.k8s.io/v1beta2/namespaces/{NAMESPACE}/pods/*/{metric}?{selector}");
    let metrics = api.get(&path).unwrap_or_default();
    let pods = list(&metrics["items"]).iter();
    Moment {
        at: began.elapsed().as_secs_f64(),
        in_flight: load.in_flight(),
        pods: pods
            .filter_map(|item| {
                Some((text(&item["describedObject"]["name"]).to_owned(), quantity(text(&item["value"]))?))
            })
            .collect(),
        wanted: number(&deployment["spec"]["replicas"]),
        ready: number(&deployment["status"]["readyReplicas"]),
    }
}

/// A quantity of Kubernetes, such as `4` or `4500m`.
fn quantity(text: &str) -> Option<f64> {
    let (digits, factor) = match text.strip_suffix('m') {
        Some(digits) => (digits, 0.001),
        None => (text.strip_suffix('k').unwrap_or(text), if text.ends_with('k') { 1_000.0 } else { 1.0 }),
    };
    Some(digits.parse::<f64>().ok()? * factor)
}
