//! A view, its snapshot and the view that is read back: nothing that a rule reads is lost on the way.

use scalegate::cluster::snapshot::{reread, write};
use scalegate::policy::facts::{Context, Stage};
use scalegate::policy::finding::Finding;
use scalegate::policy::judge::{judge, judge_workload};
use scalegate::policy::objects::Object;
use scalegate::policy::view::ClusterView;

use crate::support::{Case, brief, none};

/// What the rules say of a case's objects over a view. Of workloads by what was derived from them, as in a cluster.
fn said(case: &Case, view_at: impl Fn(usize) -> ClusterView) -> Result<Vec<String>, String> {
    let world = case.world()?;
    let views: Vec<ClusterView> = (0..world.views.len()).map(view_at).collect();
    let mut said: Vec<Finding> = Vec::new();
    for subject in &world.subjects {
        let view = &views[subject.view];
        let context = Context { view, configuration: &subject.configuration, stage: Stage::Review, update: false };
        match &subject.object {
            Some(Object::Workload(object)) => {
                let namespace = object.metadata.namespace.as_deref();
                if let Some(workload) = view.workload(object.kind, namespace, &object.metadata.name) {
                    said.extend(judge_workload(workload, &context).findings);
                }
            }
            Some(object) => said.extend(judge(&subject.of, object, None, None, &context).findings),
            None => {}
        }
    }
    Ok(said.iter().map(|finding| format!("{} ({:?})", brief(finding), finding.hint)).collect())
}

#[test]
fn every_case_is_judged_the_same_over_the_snapshot_of_its_view() {
    let (mut problems, mut findings) = (Vec::new(), 0);
    for case in Case::all() {
        let Ok(world) = case.world() else { continue };
        let live = said(&case, |at| world.views[at].clone()).unwrap();
        let again = |at: usize| {
            let view = &world.views[at];
            // These two are about files, not about a cluster.
            let mut again = reread(view).unwrap();
            (again.complete, again.before) = (view.complete, view.before.clone());
            again
        };
        let read = said(&case, again).unwrap();
        findings += live.len();
        if live != read {
            problems.push(format!("{}:\nlive {live:#?}\nread {read:#?}", case.name));
        }
    }
    none(&problems, "cases are judged otherwise");
    assert!(findings > 100, "only {findings} findings were compared");
}

#[test]
fn a_snapshot_that_is_read_and_written_again_is_the_same_text() {
    let mut problems = Vec::new();
    for case in Case::all() {
        let Ok(world) = case.world() else { continue };
        for view in &world.views {
            let once = write(view, Some("v1.37.2")).unwrap().to_string();
            let twice = write(&reread(view).unwrap(), Some("v1.37.2")).unwrap().to_string();
            if once != twice {
                problems.push(format!("{}:\n{once}\n{twice}", case.name));
            }
        }
    }
    none(&problems, "cases change");
}
