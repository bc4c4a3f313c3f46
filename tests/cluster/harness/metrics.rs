//! Numbers from a `/metrics` page.

/// A page in Prometheus' text format.
pub struct Metrics(String);

impl Metrics {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// The sum over the series of that name that carry all these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name, labels).into_iter().sum()
    }

    /// The values of the series of that name that carry all these labels.
    pub fn series(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let wanted: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(name));
        let series = lines.filter_map(|rest| {
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once('}')?,
                None if rest.starts_with(' ') => ("", rest),
                None => return None,
            };
            // A label begins the list or follows a comma: `kind="x"` is not a part of `subkind="x"`.
            let has = |wanted: &String| {
                labels.match_indices(wanted.as_str()).any(|(at, _)| at == 0 || labels.as_bytes()[at - 1] == b',')
            };
            let value = value.split_whitespace().next()?;
            wanted.iter().all(has).then(|| value.parse().ok())?
        });
        series.collect()
    }

    /// Calls of a webhook that failed, whatever the API server made of it: let through by `failurePolicy: Ignore`, or
    /// rejected because the call itself went wrong.
    pub fn failed_webhook_calls(&self) -> f64 {
        self.sum("apiserver_admission_webhook_fail_open_count", &[])
            + self.sum("apiserver_admission_webhook_rejection_count", &[("error_type", "calling_webhook_error")])
    }
}

#[test]
fn series_are_summed_by_name_and_labels() {
    let page = Metrics::new(
        "# TYPE calls counter\ncalls{kind=\"a\",code=\"200\"} 2\ncalls{kind=\"b\",code=\"200\"} 3 1700000000\n\
         calls{subkind=\"a\"} 7\ncalls_total 90\nup 1\n"
            .to_owned(),
    );
    assert!((page.sum("calls", &[("code", "200")]) - 5.0).abs() < f64::EPSILON);
    assert!((page.sum("calls", &[("kind", "a")]) - 2.0).abs() < f64::EPSILON);
    assert!((page.sum("calls", &[]) - 12.0).abs() < f64::EPSILON);
    assert!((page.sum("up", &[]) - 1.0).abs() < f64::EPSILON);
    assert!(page.series("none", &[]).is_empty());
}
