use std::time::Duration;

use serde_json::json;

use super::super::apply::Answer;
use super::*;
use crate::policy::reconcile::Live;

fn item() -> Item {
    ("ml".to_owned(), "llm".to_owned())
}

fn key(group: &str, kind: &str) -> Key {
    Key { group: group.to_owned(), kind: kind.to_owned(), namespace: Some("ml".to_owned()), name: "llm".to_owned() }
}

fn hpa() -> Key {
    key("autoscaling", "HorizontalPodAutoscaler")
}

fn plan() -> Plan {
    Plan { workload: key("apps", "Deployment"), uid: "1".to_owned(), labelled: true, ..Plan::default() }
}

fn say(note: &str) -> Say {
    Say { reason: "Rendered", warning: false, note: note.to_owned() }
}

fn write() -> Write {
    Write { key: hpa(), object: json!({}), fingerprint: 1, live: None }
}

fn prune() -> Prune {
    Prune { key: hpa(), uid: "2".to_owned(), why: "it is not asked for".to_owned() }
}

fn report(done: Vec<Done>) -> Report {
    let done = done.into_iter().map(|done| (plan().workload, plan().uid, done)).collect();
    Report { item: item(), began: Instant::now(), unavailable: None, done }
}

fn refused(words: &str) -> Done {
    Done::Write(Box::new(write()), Err(Fault::new(Class::Refused, words)))
}

fn notes(work: &mut Work<'_>) -> Vec<String> {
    work.to_tell.drain(..).map(|told| format!("{} {} {}", told.reason, told.note, told.times)).collect()
}

#[test]
fn what_a_plan_says_is_told_once_and_again_when_it_was_not_so_in_between() {
    let counters = ReconcileCounters::default();
    let (mut work, now) = (Work::new(&counters), Instant::now());
    let plan = |says: &[&str]| vec![Plan { says: says.iter().map(|note| say(note)).collect(), ..plan() }];
    work.decide(&item(), plan(&["a"]), now);
    work.decide(&item(), plan(&["a"]), now);
    assert_eq!(notes(&mut work), ["Rendered a 1"]);
    work.decide(&item(), plan(&["a", "b"]), now);
    assert_eq!(notes(&mut work), ["Rendered b 1"]);
    // News that is missing changes nothing of what holds.
    work.decide(&item(), vec![Plan { waits_for: vec!["Deployment".to_owned()], ..self::plan() }], now);
    work.decide(&item(), plan(&["a", "b"]), now);
    assert!(notes(&mut work).is_empty());
    work.decide(&item(), plan(&["b"]), now);
    work.decide(&item(), plan(&["a", "b"]), now);
    assert_eq!(notes(&mut work), ["Rendered a 2"]);
    // Gone, and made anew.
    work.decide(&item(), Vec::new(), now);
    work.decide(&item(), plan(&["a"]), now);
    assert_eq!(notes(&mut work), ["Rendered a 1"]);
}

#[test]
fn nothing_is_written_while_something_of_ours_cannot_be_removed() {
    let counters = ReconcileCounters::default();
    let (mut work, now) = (Work::new(&counters), Instant::now());
    let wanted = || {
        let other = Write { key: Key { name: "other".to_owned(), ..hpa() }, ..write() };
        vec![Plan { prune: vec![prune()], write: vec![other], ..plan() }]
    };
    let (job, _) = work.decide(&item(), wanted(), now);
    let part = &job.unwrap().parts[0];
    assert_eq!((part.prunes.len(), part.writes.len()), (1, 1));
    let again = work.note(report(vec![Done::Prune(prune(), Err(Fault::new(Class::Refused, "no")))]), now).unwrap();
    assert_eq!(notes(&mut work), ["Refused cannot remove HorizontalPodAutoscaler llm: no 1"]);
    let (job, at) = work.decide(&item(), wanted(), now);
    assert!(job.is_none());
    assert_eq!(at, Some(again));
    assert!(work.decide(&item(), wanted(), again).0.is_some());
}

#[test]
fn a_refusal_is_told_once_for_the_same_words_and_what_was_done_each_time() {
    let counters = ReconcileCounters::default();
    let (mut work, now) = (Work::new(&counters), Instant::now());
    for words in ["no", "no", "never"] {
        assert!(work.note(report(vec![refused(words)]), now).is_some());
    }
    let told = notes(&mut work);
    assert_eq!(told.len(), 2, "{told:?}");
    let answer = Answer { uid: "3".to_owned(), fingerprint: 1, revision: "9".to_owned(), others: Vec::new() };
    let written = Written { answer, how: How::Created };
    assert_eq!(work.note(report(vec![Done::Write(Box::new(write()), Ok(written))]), now), None);
    assert_eq!(notes(&mut work), ["Generated HorizontalPodAutoscaler llm: created 1"]);
    let count = |result| counters.rows().filter(|(_, name, _)| *name == result).map(|(.., count)| count).sum::<u64>();
    assert_eq!((count("refused"), count("created")), (3, 1));
}

#[test]
fn what_was_written_is_not_written_again_while_the_view_does_not_know_and_is_forgotten_in_peace() {
    let counters = ReconcileCounters::default();
    let (mut work, now) = (Work::new(&counters), Instant::now());
    let wanted = || vec![Plan { write: vec![write()], ..plan() }];
    assert!(work.decide(&item(), wanted(), now).0.is_some());
    let answer = Answer { uid: "3".to_owned(), fingerprint: 1, revision: "9".to_owned(), others: Vec::new() };
    work.note(report(vec![Done::Write(Box::new(write()), Ok(Written { answer, how: How::Created }))]), now);
    let (job, again) = work.decide(&item(), wanted(), now);
    assert!(job.is_none() && again.is_some());
    // Seen as written, then as somebody made it.
    work.decide(&item(), vec![plan()], now);
    let live = Some(Live { uid: "3".to_owned(), fingerprint: Some(5), adopted: false });
    let (job, _) = work.decide(&item(), vec![Plan { write: vec![Write { live, ..write() }], ..plan() }], now);
    assert!(job.unwrap().parts[0].writes[0].1, "it is a repair");
    work.forget_idle(now + Duration::from_secs(3600));
    assert!(work.workloads.values().all(|known| known.objects.is_empty()));
}

#[test]
fn removals_for_one_reason_are_told_together() {
    let pruned = [("HorizontalPodAutoscaler", "it is gone"), ("PodMonitoring", "it is gone"), ("PodMonitor", "moved")];
    let pruned = pruned.map(|(kind, why)| (key("", kind), why.to_owned()));
    let notes = News { pruned: pruned.into(), ..News::default() }.into_notes();
    assert_eq!(
        notes,
        [
            ("Pruned", false, "HorizontalPodAutoscaler llm and PodMonitoring llm removed: it is gone".to_owned()),
            ("Pruned", false, "PodMonitor llm removed: moved".to_owned()),
        ]
    );
}
