package main

import (
	"context"
	"errors"
	"sync"
	"time"

	apierr "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/metrics/pkg/apis/custom_metrics"
	"k8s.io/metrics/pkg/apis/external_metrics"

	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
)

// prometheusAdapter answers as prometheus-adapter v0.12 does: its discovery is complete, a metric outside it is a 404, and so
// is any metric for a selector that matches nothing; a Prometheus that fails is a 500 that does not say why.
type prometheusAdapter struct {
	source  Source
	cluster Cluster

	mu   sync.Mutex
	last Listing // the list that the adapter goes on showing while Prometheus is away
}

var namespaces = schema.GroupResource{Resource: "namespaces"}

// errFetch hides the cause, as prometheus-adapter does.
func errFetch(err error) error {
	klog.ErrorS(err, "The source did not answer")
	return apierr.NewInternalError(errors.New("unable to fetch metrics"))
}

func (a *prometheusAdapter) GetMetricByName(ctx context.Context, name types.NamespacedName, info provider.CustomMetricInfo, selector labels.Selector) (*custom_metrics.MetricValue, error) {
	if !a.listed(ctx, info) {
		return nil, provider.NewMetricNotFoundError(info.GroupResource, info.Metric)
	}
	// The genuine adapter asks Prometheus alone, which has no series for what does not exist; a file's fixed value would.
	if apierr.IsNotFound(a.cluster.Get(ctx, info, name)) {
		return nil, provider.NewMetricNotFoundForError(info.GroupResource, info.Metric, name.Name)
	}
	values, _, err := a.source.Objects(ctx, ObjectMetric{info.GroupResource, info.Metric}, name.Namespace, []string{name.Name})
	if err != nil {
		return nil, errFetch(err)
	}
	value, found := values[name.Name]
	if !found {
		return nil, provider.NewMetricNotFoundForError(info.GroupResource, info.Metric, name.Name)
	}
	return metricValue(a.cluster, info, name, selector, value)
}

func (a *prometheusAdapter) GetMetricBySelector(ctx context.Context, namespace string, selector labels.Selector, info provider.CustomMetricInfo, metricSelector labels.Selector) (*custom_metrics.MetricValueList, error) {
	names, err := a.cluster.Select(ctx, info, namespace, selector)
	if err != nil {
		klog.ErrorS(err, "The objects could not be listed")
		return nil, apierr.NewInternalError(errors.New("unable to list matching resources"))
	}
	if len(names) == 0 || !a.listed(ctx, info) {
		return nil, provider.NewMetricNotFoundError(info.GroupResource, info.Metric)
	}
	values, _, err := a.source.Objects(ctx, ObjectMetric{info.GroupResource, info.Metric}, namespace, names)
	if err != nil {
		return nil, errFetch(err)
	}
	return metricValues(a.cluster, info, namespace, names, metricSelector, values)
}

func (a *prometheusAdapter) GetExternalMetric(ctx context.Context, namespace string, selector labels.Selector, info provider.ExternalMetricInfo) (*external_metrics.ExternalMetricValueList, error) {
	known := false
	for _, name := range a.listing(ctx).External {
		known = known || name == info.Metric
	}
	if !known {
		described := schema.GroupResource{}
		if namespace == "default" { // prometheus-adapter's own oddity; it shows in the message
			described = namespaces
		}
		return nil, provider.NewMetricNotFoundError(described, info.Metric)
	}
	series, _, err := a.source.External(ctx, info.Metric, namespace, selector)
	if err != nil {
		return nil, errFetch(err)
	}
	return externalValues(info.Metric, series), nil
}

// ListAllMetrics names each metric for its resource; one about namespaces is not itself in a namespace.
func (a *prometheusAdapter) ListAllMetrics() []provider.CustomMetricInfo {
	infos := []provider.CustomMetricInfo{}
	for _, metric := range a.listing(context.Background()).Objects {
		infos = append(infos, provider.CustomMetricInfo{GroupResource: metric.Resource, Namespaced: metric.Resource != namespaces, Metric: metric.Name})
	}
	return infos
}

func (a *prometheusAdapter) ListAllExternalMetrics() []provider.ExternalMetricInfo {
	infos := []provider.ExternalMetricInfo{}
	for _, name := range a.listing(context.Background()).External {
		infos = append(infos, provider.ExternalMetricInfo{Metric: name})
	}
	return infos
}

func (a *prometheusAdapter) listed(ctx context.Context, info provider.CustomMetricInfo) bool {
	for _, metric := range a.listing(ctx).Objects {
		if metric.Resource == info.GroupResource && metric.Name == info.Metric {
			return true
		}
	}
	return false
}

// listing is the source's list, or the last one that it gave.
func (a *prometheusAdapter) listing(ctx context.Context) Listing {
	now, err := a.source.List(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		klog.ErrorS(err, "The list of metrics could not be renewed")
		return a.last
	}
	a.last = now
	return now
}

// externalValues is the answer of both modes for an External metric.
func externalValues(name string, series []Series) *external_metrics.ExternalMetricValueList {
	list := &external_metrics.ExternalMetricValueList{Items: []external_metrics.ExternalMetricValue{}}
	for _, one := range series {
		list.Items = append(list.Items, external_metrics.ExternalMetricValue{
			MetricName: name, MetricLabels: one.Labels, Timestamp: metav1.NewTime(time.Now()), Value: one.Value,
		})
	}
	return list
}
