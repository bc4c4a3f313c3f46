package main

import (
	"context"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/metrics/pkg/apis/custom_metrics"

	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider/helpers"
)

// Cluster is what an adapter asks the API server: which objects there are.
type Cluster interface {
	// Select returns the names of the objects that the selector matches.
	Select(ctx context.Context, info provider.CustomMetricInfo, namespace string, selector labels.Selector) ([]string, error)
	// Get fails as the API server does when the object is not there.
	Get(ctx context.Context, info provider.CustomMetricInfo, name types.NamespacedName) error
	// Reference names an object in an answer.
	Reference(info provider.CustomMetricInfo, name types.NamespacedName) (custom_metrics.ObjectReference, error)
}

type liveCluster struct {
	client dynamic.Interface
	mapper apimeta.RESTMapper
}

func (c liveCluster) resource(info provider.CustomMetricInfo, namespace string) (dynamic.ResourceInterface, error) {
	full, err := helpers.ResourceFor(c.mapper, info)
	if err != nil {
		return nil, err
	}
	if namespace == "" {
		return c.client.Resource(full), nil
	}
	return c.client.Resource(full).Namespace(namespace), nil
}

func (c liveCluster) Select(ctx context.Context, info provider.CustomMetricInfo, namespace string, selector labels.Selector) ([]string, error) {
	client, err := c.resource(info, namespace)
	if err != nil {
		return nil, err
	}
	list, err := client.List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(list.Items))
	for _, item := range list.Items {
		names = append(names, item.GetName())
	}
	return names, nil
}

func (c liveCluster) Get(ctx context.Context, info provider.CustomMetricInfo, name types.NamespacedName) error {
	client, err := c.resource(info, name.Namespace)
	if err != nil {
		return err
	}
	_, err = client.Get(ctx, name.Name, metav1.GetOptions{})
	return err
}

func (c liveCluster) Reference(info provider.CustomMetricInfo, name types.NamespacedName) (custom_metrics.ObjectReference, error) {
	return helpers.ReferenceFor(c.mapper, name, info)
}

// metricValue builds one item of an answer.
func metricValue(cluster Cluster, info provider.CustomMetricInfo, name types.NamespacedName, selector labels.Selector, value resource.Quantity) (*custom_metrics.MetricValue, error) {
	reference, err := cluster.Reference(info, name)
	if err != nil {
		return nil, err
	}
	identifier := custom_metrics.MetricIdentifier{Name: info.Metric}
	if !selector.Empty() {
		identifier.Selector, err = metav1.ParseToLabelSelector(selector.String())
		if err != nil {
			return nil, err
		}
	}
	return &custom_metrics.MetricValue{
		DescribedObject: reference,
		Metric:          identifier,
		Timestamp:       metav1.NewTime(time.Now()),
		Value:           value,
	}, nil
}

// metricValues builds the items for those names that have a value, in the order of the names.
func metricValues(cluster Cluster, info provider.CustomMetricInfo, namespace string, names []string, selector labels.Selector, values map[string]resource.Quantity) (*custom_metrics.MetricValueList, error) {
	list := &custom_metrics.MetricValueList{Items: []custom_metrics.MetricValue{}}
	for _, name := range names {
		value, found := values[name]
		if !found {
			continue
		}
		item, err := metricValue(cluster, info, types.NamespacedName{Namespace: namespace, Name: name}, selector, value)
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, *item)
	}
	return list, nil
}
