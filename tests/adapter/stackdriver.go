package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierr "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/metrics/pkg/apis/custom_metrics"
	"k8s.io/metrics/pkg/apis/external_metrics"

	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
)

// stackdriver answers as the Custom Metrics Stackdriver Adapter v0.16 does: its discovery says nothing, a descriptor that
// cannot be read is a 404 whatever the cause, a known metric without series is an empty list, and only pods and nodes are
// described.
type stackdriver struct {
	source  Source
	cluster Cluster
	atStart []provider.CustomMetricInfo
}

// newStackdriver computes, once, the single metric that discovery shows: the first one that is not of Managed Prometheus, for
// the genuine adapter lists container, pod and node metrics only.
func newStackdriver(ctx context.Context, source Source, cluster Cluster) *stackdriver {
	shown := "agent.googleapis.com|agent|uptime"
	if listing, err := source.List(ctx); err == nil {
		for _, metric := range listing.Objects {
			if strings.HasPrefix(metric.Name, "prometheus.googleapis.com|") {
				continue
			}
			shown = strings.ReplaceAll(monitoringType(metric.Name, "custom.googleapis.com/"), "/", "|")
			break
		}
	}
	return &stackdriver{
		source:  source,
		cluster: cluster,
		atStart: []provider.CustomMetricInfo{{GroupResource: schema.GroupResource{Resource: "*"}, Namespaced: true, Metric: shown}},
	}
}

func (a *stackdriver) GetMetricByName(ctx context.Context, name types.NamespacedName, info provider.CustomMetricInfo, selector labels.Selector) (*custom_metrics.MetricValue, error) {
	if err := supported(info, name.Namespace, "name"); err != nil {
		return nil, err
	}
	if err := a.cluster.Get(ctx, info, name); err != nil {
		return nil, err
	}
	values, known, err := a.source.Objects(ctx, ObjectMetric{info.GroupResource, info.Metric}, name.Namespace, []string{name.Name})
	if err != nil || !known {
		return nil, noDescriptor(monitoringType(info.Metric, "custom.googleapis.com/"), err)
	}
	if err := checkSelector(selector, []string{"metric.labels."}, []string{"reducer"}); err != nil {
		return nil, err
	}
	value, found := values[name.Name]
	if !found {
		return nil, provider.NewMetricNotFoundForError(info.GroupResource, info.Metric, name.Name)
	}
	return metricValue(a.cluster, info, name, selector, value)
}

func (a *stackdriver) GetMetricBySelector(ctx context.Context, namespace string, selector labels.Selector, info provider.CustomMetricInfo, metricSelector labels.Selector) (*custom_metrics.MetricValueList, error) {
	if err := supported(info, namespace, "selector"); err != nil {
		return nil, err
	}
	names, err := a.cluster.Select(ctx, info, namespace, selector)
	if err != nil {
		return nil, err
	}
	values, known, err := a.source.Objects(ctx, ObjectMetric{info.GroupResource, info.Metric}, namespace, names)
	if err != nil || !known {
		return nil, noDescriptor(monitoringType(info.Metric, "custom.googleapis.com/"), err)
	}
	if len(names) > 0 { // the genuine adapter translates the selector only when it has a pod to ask about
		if err := checkSelector(metricSelector, []string{"metric.labels."}, []string{"reducer"}); err != nil {
			return nil, err
		}
	}
	return metricValues(a.cluster, info, namespace, names, metricSelector, values)
}

func (a *stackdriver) GetExternalMetric(ctx context.Context, namespace string, selector labels.Selector, info provider.ExternalMetricInfo) (*external_metrics.ExternalMetricValueList, error) {
	series, known, err := a.source.External(ctx, info.Metric, namespace, withoutReducer(selector))
	if err != nil || !known {
		return nil, noDescriptor(monitoringType(info.Metric, ""), err)
	}
	prefixes := []string{"metric.labels.", "resource.labels.", "metadata.system_labels.", "metadata.user_labels."}
	if err := checkSelector(selector, prefixes, []string{"resource.type", "reducer"}); err != nil {
		return nil, err
	}
	return externalValues(info.Metric, series), nil
}

// ListAllMetrics shows what was computed at the start.
func (a *stackdriver) ListAllMetrics() []provider.CustomMetricInfo { return a.atStart }

// ListAllExternalMetrics shows a name that stands for any.
func (a *stackdriver) ListAllExternalMetrics() []provider.ExternalMetricInfo {
	return []provider.ExternalMetricInfo{{Metric: "externalmetrics"}}
}

// supported refuses all but pods in a namespace and nodes outside.
func supported(info provider.CustomMetricInfo, namespace, by string) error {
	scope, described := "namespaced", schema.GroupResource{Resource: "pods"}
	if namespace == "" {
		scope, described = "root scoped", schema.GroupResource{Resource: "nodes"}
	}
	if info.GroupResource.Resource == described.Resource {
		return nil
	}
	return status(http.StatusNotImplemented, metav1.StatusReasonBadRequest,
		fmt.Sprintf("Operation: %q is not implemented", fmt.Sprintf("Get %s metric by %s for resource %q", scope, by, info.GroupResource.Resource)))
}

// monitoringType is Cloud Monitoring's spelling of a metric's name, which is the one that messages use.
func monitoringType(name, prefix string) string {
	if strings.Contains(name, "|") {
		return strings.ReplaceAll(name, "|", "/")
	}
	return prefix + name
}

// noDescriptor is the one answer for a metric that is not there, a right that is missing, a quota and an outage alike.
func noDescriptor(metricType string, cause error) error {
	klog.V(4).InfoS("No descriptor", "type", metricType, "cause", cause)
	return status(http.StatusNotFound, metav1.StatusReasonNotFound,
		fmt.Sprintf("the server could not find the descriptor for metric %q", metricType))
}

// checkSelector refuses label names that Cloud Monitoring's filters do not have.
func checkSelector(selector labels.Selector, prefixes, names []string) error {
	requirements, selectable := selector.Requirements()
	if !selectable {
		return apierr.NewBadRequest(fmt.Sprintf("Label selector is impossible to match: %s", selector))
	}
	for _, requirement := range requirements {
		if requirement.Operator() == selection.DoesNotExist {
			return apierr.NewBadRequest("Label selector with operator DoesNotExist is not allowed")
		}
		key := requirement.Key()
		hasPrefix := func(prefix string) bool { return strings.HasPrefix(key, prefix) && key != prefix }
		if !slices.Contains(names, key) && !slices.ContainsFunc(prefixes, hasPrefix) {
			return apierr.NewBadRequest(fmt.Sprintf("Metric label: %q is not allowed", key))
		}
	}
	return nil
}

// withoutReducer drops the one key that says how to add series up, and selects none.
func withoutReducer(selector labels.Selector) labels.Selector {
	kept := labels.NewSelector()
	requirements, selectable := selector.Requirements()
	if !selectable {
		return labels.Nothing()
	}
	for _, requirement := range requirements {
		if requirement.Key() != "reducer" {
			kept = kept.Add(requirement)
		}
	}
	return kept
}

func status(code int32, reason metav1.StatusReason, message string) error {
	return &apierr.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}}
}
