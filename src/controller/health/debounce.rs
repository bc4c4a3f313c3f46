//! When the state of a chain is worth an Event: once for each change that lasts.

use std::collections::BTreeMap;

use crate::policy::health::{Health, Link, Name};

/// A link must be broken on two looks, so many seconds apart, before anybody is told.
const LASTS: i64 = 30;

/// What is remembered of the chain of one workload.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    links: BTreeMap<Name, Watched>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    /// Since when it is seen broken, in seconds since the epoch.
    broken_since: Option<i64>,
    /// Whether that was told.
    told: bool,
}

/// What to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A link is broken.
    Broken {
        /// Which, why and what to do.
        note: String,
    },
    /// Every link that was told to be broken holds again.
    Whole {
        /// The link that held last.
        note: String,
    },
}

// === impl Chain ===

impl Chain {
    /// Takes a look at `now`. `may_tell` is asked before anything is told; what may not be told now is told by a later look.
    pub(super) fn look(&mut self, links: &[Link], now: i64, may_tell: &mut dyn FnMut() -> bool) -> Vec<News> {
        let mut news = Vec::new();
        let mut mended = None;
        for Link { name, state } in links {
            let watched = self.links.entry(*name).or_default();
            match state {
                Health::Broken { reason, fix } => {
                    let since = *watched.broken_since.get_or_insert(now);
                    if !watched.told && now.saturating_sub(since) >= LASTS && may_tell() {
                        watched.told = true;
                        news.push(News::Broken { note: format!("{name}: {reason}; {fix}") });
                    }
                }
                Health::Healthy => {
                    watched.broken_since = None;
                    if watched.told {
                        mended = Some(*name);
                    }
                }
                // Told or not, it may be broken still.
                Health::Unknown { .. } => watched.broken_since = None,
            }
        }
        let Some(last) = mended else { return news };
        let others = self.links.iter().any(|(name, watched)| {
            let holds = links.iter().any(|link| link.name == *name && link.state == Health::Healthy);
            watched.told && !holds
        });
        if others {
            // The rest is told when it holds too.
            for link in links.iter().filter(|link| link.state == Health::Healthy) {
                self.links.entry(link.name).or_default().told = false;
            }
        } else if may_tell() {
            for watched in self.links.values_mut() {
                watched.told = false;
            }
            news.push(News::Whole {
                note: format!("{last}: it holds again, and no link of the chain is known to be broken"),
            });
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: Name, state: &str) -> Link {
        let state = match state {
            "healthy" => Health::Healthy,
            "broken" => Health::Broken { reason: "reason".into(), fix: "fix".into() },
            _ => Health::Unknown { reason: "open".into() },
        };
        Link { name, state }
    }

    /// What is told of the metric, look by look, 20 s apart.
    fn told(states: &[&str]) -> Vec<usize> {
        let mut chain = Chain::default();
        let mut told = Vec::new();
        for (look, state) in states.iter().enumerate() {
            let now = i64::try_from(look).unwrap() * 20;
            told.push(chain.look(&[link(Name::Metric, state)], now, &mut || true).len());
        }
        told
    }

    #[test]
    fn a_link_must_be_broken_for_half_a_minute_and_is_told_once() {
        assert_eq!(told(&["broken", "broken", "broken", "broken"]), [0, 0, 1, 0]);
        assert_eq!(told(&["broken", "healthy", "broken", "healthy"]), [0, 0, 0, 0]);
        assert_eq!(told(&["broken", "broken", "unknown", "broken", "broken", "broken"]), [0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn what_was_told_to_be_broken_is_told_to_hold_again_once_and_what_cannot_be_told_is_not() {
        assert_eq!(told(&["broken", "broken", "broken", "unknown", "healthy", "healthy"]), [0, 0, 1, 0, 1, 0]);
        assert_eq!(told(&["healthy", "unknown", "healthy"]), [0, 0, 0]);
    }

    #[test]
    fn the_chain_is_whole_again_only_when_the_last_broken_link_holds() {
        let mut chain = Chain::default();
        let mut look = |now, metric: &str, active: &str| {
            chain.look(&[link(Name::Metric, metric), link(Name::Active, active)], now, &mut || true)
        };
        look(0, "broken", "broken");
        let both = look(30, "broken", "broken");
        assert_eq!(both[0], News::Broken { note: "metric: reason; fix".into() });
        assert_eq!(both.len(), 2);
        assert_eq!(look(60, "healthy", "broken"), []);
        assert!(
            matches!(look(90, "healthy", "healthy")[..], [News::Whole { ref note }] if note.starts_with("active: "))
        );
    }

    #[test]
    fn what_may_not_be_told_now_is_told_later() {
        let mut chain = Chain::default();
        let broken = [link(Name::Metric, "broken")];
        chain.look(&broken, 0, &mut || true);
        assert_eq!(chain.look(&broken, 60, &mut || false), []);
        assert_eq!(chain.look(&broken, 61, &mut || true).len(), 1);
        let healthy = [link(Name::Metric, "healthy")];
        assert_eq!(chain.look(&healthy, 62, &mut || false), []);
        assert_eq!(chain.look(&healthy, 63, &mut || true).len(), 1);
    }
}
