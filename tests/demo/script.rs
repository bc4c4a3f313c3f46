//! The order of things, and what has to hold.

use std::fmt::Display;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::api::Api;
use crate::fleet::Fleet;
use crate::harness::nodes::READY_AFTER;
use crate::harness::{repository, values};
use crate::load::{Load, Rate};
use crate::screen::Screen;
use crate::timeline::{NAMESPACE, Strategy, Timeline};
use crate::world::World;
use crate::{Engine, leaving, picture, scenes};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// The pictured part begins this long before the load.
const BEFORE: Duration = Duration::from_secs(5);

/// The load goes on for this long at least once all replicas are there.
const AT_THE_TOP: Duration = Duration::from_secs(30);

/// What differs between the engines.
pub struct Plan {
    pub strategies: Vec<Strategy>,
    /// The replicas that the load asks for: the maximum of the autoscalers.
    replicas: u32,
    /// What the clients do, in words.
    load: &'static str,
    /// How long they do it, at least.
    load_for: Duration,
    rate: Rate,
    /// From a running pod to a ready one; nothing where the server says itself when it is ready.
    loading: &'static str,
    /// Annotations and flags that the walkthrough does not have.
    annotations: &'static [(&'static str, &'static str)],
    flags: &'static [(&'static str, &'static str)],
    /// Up to the maximum, and back to one.
    within: Duration,
}

impl Plan {
    fn of(engine: &Engine) -> Self {
        let server = Strategy {
            profile: "server-metrics",
            name: "gemma-server",
            metric: "prometheus.googleapis.com|vllm:num_requests_running|gauge",
            target: 4.0,
            unit: "requests running",
        };
        let gpu = Strategy {
            profile: "gpu-metrics",
            name: "gemma-gpu",
            metric: "prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge",
            target: 20.0,
            unit: "% GPU utilisation",
        };
        match engine {
            // The answer takes 20 s, so 20 run at once.
            Engine::Simulated => Self {
                strategies: vec![server, gpu],
                replicas: 5,
                load: "A request a second for 150 s, then none",
                load_for: Duration::from_secs(150),
                rate: Rate { every: Duration::from_secs(1), tokens: 800, at_most: 100 },
                loading: "12s",
                annotations: &[],
                flags: &[],
                within: Duration::from_secs(120),
            },
            Engine::Genuine(_) => Self {
                strategies: vec![server],
                replicas: 3,
                load: "24 clients, each with one request at a time, until three replicas serve; then none",
                load_for: Duration::from_secs(120),
                // However fast the machine is, the clients wait for it.
                rate: Rate { every: Duration::from_millis(250), tokens: 300, at_most: 24 },
                loading: "24h",
                annotations: &[("scalegate.dev/max-replicas", "3")],
                flags: &[("--max-num-seqs=64", "--max-num-seqs=16")],
                within: Duration::from_secs(600),
            },
        }
    }
}

/// What is expected, and whether it held.
pub struct Expectations<'a> {
    screen: &'a Screen,
    held: u32,
    failed: u32,
}

impl Expectations<'_> {
    pub fn check(&mut self, holds: bool, what: &str) {
        if holds {
            self.held += 1;
            self.screen.holds(what);
        } else {
            self.failed += 1;
            self.screen.fails(what);
        }
    }

    /// Waits for a condition; one that does not come counts as not held.
    pub fn until(&mut self, what: &str, within: Duration, look: impl FnMut() -> bool) -> bool {
        let holds = until(within, look);
        self.check(holds, &if holds { what.to_owned() } else { format!("{what} (not after {} s)", within.as_secs()) });
        holds
    }
}

/// Looks until it holds, or the time is over.
pub fn until(within: Duration, mut look: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if look() {
            return true;
        }
        if began.elapsed() > within {
            return false;
        }
        thread::sleep(LOOK);
    }
}

/// Runs the demo; whether all expectations held.
///
/// # Errors
/// When it could not be run.
pub fn run(engine: &Engine, screen: &Screen) -> Result<bool, String> {
    let began = Instant::now();
    let plan = Plan::of(engine);
    let mut world = World::start(screen)?;
    let api = Api::of(world.cluster);
    let fleet = Fleet::start(api.clone(), engine, screen);
    let mut expected = Expectations { screen, held: 0, failed: 0 };

    screen.part("Label a Deployment");
    world.cluster.kubectl(&["create", "namespace", NAMESPACE]).ok();
    for strategy in &plan.strategies {
        world.cluster.kubectl_stdin(&["apply", "-n", NAMESPACE, "-f", "-"], &walkthrough(strategy, &plan)?).ok();
    }
    scenes::label_brings(&api, &plan, &mut expected);

    let loads: Vec<Load> = plan.strategies.iter().map(|_| Load::default()).collect();
    let one_each = until(plan.within, || plan.strategies.iter().all(|s| fleet.ready(NAMESPACE, s.name).len() == 1));
    expected.check(one_each, "one replica of each is ready, its model loaded");
    let timeline = Timeline::start(api.clone(), &plan.strategies, loads.clone(), screen);
    thread::sleep(BEFORE);

    screen.part(plan.load);
    let load_began = Instant::now();
    for (strategy, load) in plan.strategies.iter().zip(&loads) {
        load.begin(&fleet, NAMESPACE, strategy.name, plan.rate);
    }
    let published = matches!(engine, Engine::Simulated).then(|| {
        scenes::refusals(&world, &mut expected, screen);
        scenes::labelled_in_place(&world, &api, &mut expected, screen)
    });
    for strategy in &plan.strategies {
        let what = format!("{} went from 1 to {} replicas, all ready", strategy.name, plan.replicas);
        let within = plan.within.max(plan.load_for).saturating_sub(load_began.elapsed());
        expected.until(&what, within, || fleet.ready(NAMESPACE, strategy.name).len() == plan.replicas as usize);
    }
    thread::sleep(plan.load_for.saturating_sub(load_began.elapsed()).max(AT_THE_TOP));
    loads.iter().for_each(Load::stop);
    screen.step("the clients stop");
    for strategy in &plan.strategies {
        let what = format!("{} went back to 1 replica", strategy.name);
        expected.until(&what, plan.within, || fleet.ready(NAMESPACE, strategy.name).len() == 1);
    }
    let failed: u32 = loads.iter().map(Load::failed).sum();
    let answered: u32 = loads.iter().map(Load::answered).sum();
    expected.check(failed == 0 && answered > 0, &format!("{answered} requests answered, {failed} lost"));
    if let Some(published) = published {
        let what = "the published autoscaler and PodMonitoring are as they were, with nothing beside them";
        expected.check(published == scenes::published(&api), what);
    }
    // A moment of rest, for the picture.
    thread::sleep(BEFORE);
    let file = repository("target/demo/timeline.svg");
    picture::draw(&file, &timeline.tracks()).map_err(|error| cannot(file.display(), error))?;

    leaving::audited(&world, &mut expected);
    screen.part("Take the label away");
    scenes::unlabelled(&world, &api, &plan, &mut expected);
    if let Some(strategy) = plan.strategies.first() {
        screen.part("Take scalegate away");
        leaving::uninstalled(&mut world, &api, strategy, &mut expected);
    }

    screen.table(&[]);
    screen.part("What came of it");
    let passed = began.elapsed().as_secs();
    screen.step(&format!("the picture is {}", file.display()));
    let all = expected.held + expected.failed;
    let verdict = format!("{} of {all} expectations held; {} min {} s", expected.held, passed / 60, passed % 60);
    expected.check(expected.failed == 0, &verdict);
    Ok(expected.failed == 0)
}

/// The walkthrough's Deployment for a strategy, with the time that its model takes to load.
fn walkthrough(strategy: &Strategy, plan: &Plan) -> Result<String, String> {
    let file = repository("deploy/walkthrough").join(strategy.profile).join("deployment.yaml");
    let text = fs::read_to_string(&file).map_err(|error| cannot(file.display(), error))?;
    let text = plan.flags.iter().fold(text, |text, (from, to)| text.replace(from, to));
    let mut deployment = values(&text).remove(0);
    for (key, value) in plan.annotations {
        deployment["metadata"]["annotations"][*key] = (*value).into();
    }
    deployment["spec"]["template"]["metadata"]["annotations"][READY_AFTER] = plan.loading.into();
    Ok(deployment.to_string())
}

fn cannot(what: impl Display, error: impl Display) -> String {
    format!("{what}: {error}")
}
