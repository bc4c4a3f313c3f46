//! `scalegate uninstall`: takes out of a cluster what scalegate put into it, with the rights of whoever runs it.
//!
//! ```text
//! webhook configurations -> the policy on our label -> (no controller runs) -> Secrets, Lease -> with --purge: what was generated
//! ```
//! `requests` reads and deletes one object, `purge` finds what is ours and deletes it.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use kube::Client;
use kube::api::DynamicObject;
use tokio::time::{Instant, sleep};

use self::requests::{Place, Requests, Resource};
use super::EXIT_OK;
use super::progress::Progress;
use super::serve::Live;
use crate::admission::registration::{Installation, MUTATING_NAME, VALIDATING_NAME};

mod purge;
mod requests;

/// The label that everything of the chart carries.
const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Field managers of those who take part in the election begin so.
const ELECTION_MANAGER: &str = "scalegate-lease-";
/// How often it is looked whether the Lease is renewed.
const LEASE_LOOK: Duration = Duration::from_secs(1);
/// For how long a Lease holds that does not say, and at most.
const LEASE_DURATION: u64 = 30;

#[derive(Debug, Args)]
#[command(after_help = "What Helm installed, `helm uninstall` removes; what plain YAML brought,
`kubectl delete -f`. Either takes the Deployments along, which this command leaves:
begin there. This command removes what they leave, or what is left of an
installation that is broken: the webhook configurations first, so that nothing is
refused any more. Autoscalers and scrape objects stay, and work without scalegate.

It runs with your own rights (KUBECONFIG). What is not there is no error.

Examples:
  scalegate uninstall --dry-run
  scalegate uninstall
  helm uninstall scalegate -n scalegate-system && scalegate uninstall --purge")]
pub(super) struct UninstallArgs {
    /// Remove the autoscalers and scrape objects that scalegate made, too: those that a workload owns and that scalegate wrote.
    #[arg(long)]
    purge: bool,
    /// Only say what would be removed; the API server is asked whether it may be.
    #[arg(long)]
    dry_run: bool,
    /// Namespace of the installation.
    #[arg(short, long, default_value_t = Installation::default().namespace, value_name = "NAMESPACE")]
    namespace: String,
    /// The name that its objects carry: the chart's nameOverride.
    #[arg(long, default_value_t = Installation::default().name, value_name = "NAME")]
    name: String,
}

/// Removes, and says what.
pub(super) fn run(args: &UninstallArgs) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(uninstall(args))?;
    Ok(EXIT_OK)
}

async fn uninstall(args: &UninstallArgs) -> anyhow::Result<()> {
    let client: Client =
        Live::infer().await.context("no cluster: set KUBECONFIG, or run in a pod with a service account")?.client;
    let mut out = io::stdout().lock();
    let requests = Requests::new(client, args.dry_run);
    let named = |name: &str| format!("{}{name}", args.name);
    for (resource, webhook) in
        [(Resource::MUTATING_WEBHOOKS, MUTATING_NAME), (Resource::VALIDATING_WEBHOOKS, VALIDATING_NAME)]
    {
        let place = Place::cluster(resource, args.name.clone());
        remove(&requests, &place, &mut out, &|object| has_webhook(object, webhook)).await?;
    }
    // The binding first: a policy without one does nothing, a binding without its policy is an error of the API server's.
    for resource in [Resource::POLICY_BINDINGS, Resource::POLICIES] {
        remove(&requests, &Place::cluster(resource, named("-label")), &mut out, &of_the_chart).await?;
    }
    let place = |resource, name: String| Place::within(resource, &args.namespace, name);
    let lease = place(Resource::LEASES, args.name.clone());
    no_controller_runs(&requests, &lease, args, &mut out).await?;
    for name in ["-tls", "-ca"] {
        remove(&requests, &place(Resource::SECRETS, named(name)), &mut out, &of_the_chart).await?;
    }
    remove(&requests, &lease, &mut out, &of_the_election).await?;
    if args.purge {
        purge::purge(&requests, &mut out).await?;
    } else {
        writeln!(
            out,
            "left: HorizontalPodAutoscalers and scrape objects, which work without scalegate (--purge removes those that it made)"
        )?;
    }
    for component in ["-webhook", "-controller"] {
        let place = place(Resource::DEPLOYMENTS, named(component));
        // Only to say that it is there: who may not read it knows what is installed.
        if let Ok(Some(_)) = requests.metadata(&place).await {
            writeln!(out, "left: {place}; `helm uninstall` removes it, or `kubectl delete -f` of what was applied")?;
        }
    }
    out.flush()?;
    Ok(())
}

/// Removes one object of the installation, when it is there and evidently ours.
async fn remove(
    requests: &Requests,
    place: &Place,
    out: &mut dyn Write,
    ours: &dyn Fn(&DynamicObject) -> Result<(), String>,
) -> anyhow::Result<()> {
    let deleted = requests.delete(place, ours).await?;
    if let Some(line) = deleted.line(place, requests.dry_run()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn has_webhook(object: &DynamicObject, name: &str) -> Result<(), String> {
    let webhooks = object.data["webhooks"].as_array();
    if webhooks.is_some_and(|all| all.iter().any(|webhook| webhook["name"] == name)) {
        return Ok(());
    }
    Err(format!("it has no webhook {name}, so it is not scalegate's"))
}

fn of_the_chart(object: &DynamicObject) -> Result<(), String> {
    let labels = object.metadata.labels.as_ref();
    if labels.and_then(|labels| labels.get(NAME_LABEL)).is_some_and(|name| name == "scalegate") {
        return Ok(());
    }
    Err(format!("it lacks the label {NAME_LABEL}: scalegate, which all of the chart's objects carry"))
}

/// The Lease that the chart made, or that a controller made anew.
fn of_the_election(object: &DynamicObject) -> Result<(), String> {
    let managers = object.metadata.managed_fields.iter().flatten();
    let took_part =
        managers.filter_map(|entry| entry.manager.as_deref()).any(|manager| manager.starts_with(ELECTION_MANAGER));
    if took_part { Ok(()) } else { of_the_chart(object) }
}

/// A controller that runs writes again what is removed. Whether one does is told by its Lease, whose renewals are watched
/// for as long as it holds: the clocks of the cluster and of this machine need not agree.
async fn no_controller_runs(
    requests: &Requests,
    place: &Place,
    args: &UninstallArgs,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Some(first) = requests.object(place).await? else { return Ok(()) };
    let Some((holder, renewed)) = held(&first) else { return Ok(()) };
    let seconds =
        first.data["spec"]["leaseDurationSeconds"].as_u64().unwrap_or(LEASE_DURATION).clamp(1, LEASE_DURATION);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut progress = Progress::new();
    while Instant::now() < until {
        progress.say(&format!("looking whether {holder}, the last leader, still runs"));
        sleep(LEASE_LOOK).await;
        let Some(now) = requests.object(place).await? else { return Ok(()) };
        match held(&now) {
            None => return Ok(()),
            Some(other) if other == (holder.clone(), renewed.clone()) => {}
            Some((running, _)) => {
                drop(progress);
                let says =
                    format!("the controller {running} runs (it renews {place}) and would write again what is removed");
                if args.dry_run {
                    writeln!(out, "in the way: {says}")?;
                    return Ok(());
                }
                bail!(
                    "{says}; remove its Deployment by `helm uninstall`, or by `kubectl -n {} delete deployment \
                     {}-controller`, and run this again",
                    args.namespace,
                    args.name
                );
            }
        }
    }
    Ok(())
}

/// Who holds a Lease, and when it was renewed; `None` when nobody does.
fn held(lease: &DynamicObject) -> Option<(String, String)> {
    let text = |field: &str| lease.data["spec"][field].as_str().unwrap_or_default().to_owned();
    Some((text("holderIdentity"), text("renewTime"))).filter(|(holder, _)| !holder.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_what_is_evidently_ours_is_removed() {
        let ours = object(json!({ "metadata": { "name": "scalegate" }, "webhooks": [{ "name": MUTATING_NAME }] }));
        let theirs = object(json!({ "metadata": { "name": "scalegate" }, "webhooks": [{ "name": "a.example.com" }] }));
        assert!(has_webhook(&ours, MUTATING_NAME).is_ok());
        assert!(has_webhook(&theirs, MUTATING_NAME).unwrap_err().contains(MUTATING_NAME));
        assert!(has_webhook(&ours, VALIDATING_NAME).is_err());

        let labelled = object(json!({ "metadata": { "labels": { NAME_LABEL: "scalegate" } } }));
        let plain = object(json!({ "metadata": {} }));
        let elected = object(json!({ "metadata": { "managedFields": [{ "manager": "scalegate-lease-pod-a" }] } }));
        assert!(of_the_chart(&labelled).is_ok() && of_the_election(&labelled).is_ok());
        assert!(of_the_election(&elected).is_ok() && of_the_chart(&elected).is_err());
        assert!(of_the_election(&plain).unwrap_err().contains(NAME_LABEL));
    }

    #[test]
    fn a_lease_that_was_given_back_is_held_by_nobody() {
        let lease =
            |holder: Value| object(json!({ "metadata": {}, "spec": { "holderIdentity": holder, "renewTime": "t" } }));
        assert_eq!(held(&lease(json!("a"))), Some(("a".to_owned(), "t".to_owned())));
        assert_eq!(held(&lease(json!(""))), None);
        assert_eq!(held(&lease(Value::Null)), None);
        assert_eq!(held(&object(json!({ "metadata": {} }))), None);
    }
}
