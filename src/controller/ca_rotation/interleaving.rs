//! Two controllers, replicas and a clock in every order: nobody ever stops trusting what a replica serves, and whoever is
//! left alone brings it to an end.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::plan::{Authorities, Authority, Endpoint, Leaf, Picture, Step, Validity, plan};

const VALIDITY: Validity =
    Validity { authority: Duration::from_secs(1_000), leaf: Duration::from_secs(400), renew_before: None };
/// More steps than any rotation takes.
const ENOUGH: usize = 80;

/// A thing with the version that a write has to know.
#[derive(Clone, Debug, Default)]
struct Versioned<T> {
    version: u64,
    value: T,
}

impl<T> Versioned<T> {
    fn write(&mut self, read: u64, value: T) -> bool {
        let fresh = self.version == read;
        if fresh {
            (self.version, self.value) = (self.version + 1, value);
        }
        fresh
    }
}

/// The issuer of a leaf, and its end.
type IssuedBy = Option<(Vec<u8>, SystemTime)>;

struct World {
    now: SystemTime,
    made: u8,
    bundles: [Versioned<Option<Vec<Vec<u8>>>>; 2],
    leaf: Versioned<IssuedBy>,
    authorities: Versioned<Authorities>,
    replicas: [IssuedBy; 2],
}

/// One controller between two of its steps; all of it is lost in a crash.
#[derive(Clone, Default)]
struct Controller {
    at: usize,
    bundles: [Versioned<Option<Vec<Vec<u8>>>>; 2],
    leaf: Versioned<IssuedBy>,
    authorities: Versioned<Authorities>,
    settled_for: Option<Vec<Vec<u8>>>,
    step: Option<Step>,
}

impl World {
    fn new() -> Self {
        Self {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
            made: 0,
            bundles: Default::default(),
            leaf: Versioned::default(),
            authorities: Versioned::default(),
            replicas: [None, None],
        }
    }

    fn picture(&self, controller: &Controller, dialled: bool) -> Picture {
        let Controller { bundles, leaf, authorities, settled_for, .. } = controller;
        let holds = |leaf: &&(Vec<u8>, SystemTime)| self.now < leaf.1;
        let issuing = authorities.value.issuing.as_ref().map(|issuing| &issuing.der);
        let shows = |replica: &IssuedBy| match replica.as_ref() {
            Some((by, _)) if Some(by) == issuing => Endpoint::New,
            _ => Endpoint::NotYet,
        };
        Picture {
            now: self.now,
            bundles: bundles.iter().map(|bundle| bundle.value.clone()).collect(),
            leaf: leaf.value.as_ref().filter(holds).map_or(Leaf::Unusable, |(issuer, not_after)| Leaf::Usable {
                issuer: Some(issuer.clone()),
                not_after: *not_after,
            }),
            settled: *settled_for == Some(authorities.value.bundle()),
            authorities: authorities.value.clone(),
            endpoints: dialled.then(|| self.replicas.iter().map(shows).collect()),
        }
    }

    /// One read or one write of a controller, in the order of the real ones.
    fn advance(&mut self, controller: &mut Controller) {
        let at = controller.at;
        controller.at += 1;
        match at {
            0 => controller.bundles[0] = self.bundles[0].clone(),
            1 => controller.bundles[1] = self.bundles[1].clone(),
            2 => controller.leaf = self.leaf.clone(),
            3 => controller.authorities = self.authorities.clone(),
            4 => {
                let step = plan(&self.picture(controller, false), &VALIDITY);
                let step = if step == Step::Dial { plan(&self.picture(controller, true), &VALIDITY) } else { step };
                controller.step = Some(step);
            }
            5 => self.write(controller),
            // The second bundle, after others may have come in between.
            _ => {
                if let Some(Step::Publish { bundle }) = &controller.step {
                    self.bundles[1].write(controller.bundles[1].version, Some(bundle.clone()));
                }
                let held = controller
                    .bundles
                    .iter()
                    .all(|held| held.value.as_ref() == Some(&controller.authorities.value.bundle()));
                controller.settled_for = held.then(|| controller.authorities.value.bundle());
                controller.at = 0;
            }
        }
    }

    fn write(&mut self, controller: &Controller) {
        let version = controller.authorities.version;
        match &controller.step {
            Some(Step::NewAuthority { previous }) => {
                self.made += 1;
                let issuing = Authority { der: vec![self.made], not_after: self.now + VALIDITY.authority };
                let value = Authorities { issuing: Some(issuing), previous: previous.clone() };
                self.authorities.write(version, value);
            }
            Some(Step::Publish { bundle }) => {
                self.bundles[0].write(controller.bundles[0].version, Some(bundle.clone()));
            }
            Some(Step::IssueLeaf) => {
                let issuing = controller.authorities.value.issuing.clone().unwrap();
                let ends = VALIDITY.leaf_ends(self.now, &issuing);
                self.leaf.write(controller.leaf.version, Some((issuing.der, ends)));
            }
            Some(Step::Retire { keep }) => {
                let value = Authorities { previous: keep.clone(), ..controller.authorities.value.clone() };
                self.authorities.write(version, value);
            }
            _ => {}
        }
    }

    /// What an API server would say of each replica that serves something that has not expired.
    fn check(&self) -> Result<(), TestCaseError> {
        for (by, ends) in self.replicas.iter().flatten() {
            for bundle in &self.bundles {
                let trusted = bundle.value.as_ref().is_some_and(|bundle| bundle.contains(by));
                prop_assert!(trusted || self.now >= *ends, "{by:?} is served, and trusted are {:?}", bundle.value);
            }
        }
        Ok(())
    }

    fn finish(&mut self, controller: &mut Controller) -> Result<(), TestCaseError> {
        for _ in 0..ENOUGH * 7 {
            self.advance(controller);
            self.replicas = [self.leaf.value.clone(), self.leaf.value.clone()];
            self.check()?;
        }
        prop_assert!(matches!(controller.step, Some(Step::Rest { .. })), "{:?}", controller.step);
        let only = self.authorities.value.issuing.clone().unwrap().der;
        prop_assert!(self.bundles.iter().all(|bundle| bundle.value == Some(vec![only.clone()])));
        prop_assert_eq!(self.leaf.value.clone().unwrap().0, only);
        Ok(())
    }
}

fn settled() -> (World, Controller) {
    let (mut world, mut controller) = (World::new(), Controller::default());
    world.finish(&mut controller).unwrap();
    (world, controller)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_order_of_two_controllers_drops_what_a_replica_serves(
        moves in prop::collection::vec((0u8..12, 1u64..120), 0..400),
    ) {
        let (mut world, first) = settled();
        let mut controllers = [first, Controller::default()];
        for (who, seconds) in moves {
            match who {
                0..=3 => world.advance(&mut controllers[0]),
                4..=7 => world.advance(&mut controllers[1]),
                8 | 9 => world.replicas[usize::from(who - 8)] = world.leaf.value.clone(),
                10 => world.now += Duration::from_secs(seconds),
                _ => controllers[usize::from(seconds % 2 == 0)] = Controller::default(),
            }
            world.check()?;
        }
        world.finish(&mut Controller::default())?;
    }
}

#[test]
fn every_point_of_a_crash_is_gone_on_from() {
    // Each number of single reads and writes, then another controller that knows nothing.
    for steps in 0..ENOUGH {
        let (mut world, mut controller) = settled();
        let first = world.authorities.value.issuing.clone();
        world.now += Duration::from_secs(700);
        for _ in 0..steps {
            world.advance(&mut controller);
            world.replicas = [world.leaf.value.clone(), world.leaf.value.clone()];
            world.check().unwrap();
        }
        world.finish(&mut Controller::default()).unwrap();
        assert_ne!(world.authorities.value.issuing, first);
    }
}

#[test]
fn an_old_authority_stays_while_one_replica_serves_it_and_while_none_is_seen() {
    let (mut world, mut controller) = settled();
    world.now += Duration::from_secs(700);
    // The leaf expired and was replaced, as was the authority; the first replica hears of neither.
    let slow = world.replicas[0].clone();
    for _ in 0..ENOUGH {
        world.advance(&mut controller);
        world.replicas = [slow.clone(), world.leaf.value.clone()];
    }
    let old = slow.unwrap().0;
    assert!(world.bundles.iter().all(|bundle| bundle.value.as_ref().unwrap().contains(&old)));
    let mut picture = world.picture(&controller, true);
    assert_eq!(plan(&picture, &VALIDITY), Step::WaitForEndpoints);
    picture.endpoints = Some(Vec::new());
    assert_eq!(plan(&picture, &VALIDITY), Step::WaitForEndpoints);
    picture.endpoints = Some(vec![Endpoint::New, Endpoint::New]);
    assert_eq!(plan(&picture, &VALIDITY), Step::Retire { keep: Vec::new() });
}

#[test]
fn without_anything_the_bundles_come_first_and_then_a_leaf_without_waiting() {
    let mut world = World::new();
    let mut controller = Controller::default();
    let mut steps = Vec::new();
    for _ in 0..7 * 4 {
        world.advance(&mut controller);
        if controller.at == 5 {
            steps.push(controller.step.clone().unwrap());
        }
    }
    assert!(matches!(
        &steps[..],
        [Step::NewAuthority { .. }, Step::Publish { .. }, Step::IssueLeaf, Step::Rest { .. }]
    ));
}
