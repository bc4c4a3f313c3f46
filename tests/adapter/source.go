package main

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Source is where numbers come from: a file, or a Prometheus. It knows nothing of how an adapter answers.
//
// "Known" is what Cloud Monitoring calls a descriptor and Prometheus a series that exists somewhere: a metric can be known
// and yet have no value for the objects that were asked about. An error means that the backend did not answer.
type Source interface {
	// Objects returns what a metric reads for those of the named objects that have a value, by object name.
	// namespace is empty for objects outside namespaces.
	Objects(ctx context.Context, metric ObjectMetric, namespace string, names []string) (values map[string]resource.Quantity, known bool, err error)

	// External returns the series of an External metric that the selector matches.
	External(ctx context.Context, name, namespace string, selector labels.Selector) (series []Series, known bool, err error)

	// List returns every metric that the source knows, in a stable order.
	List(ctx context.Context) (Listing, error)
}

// ObjectMetric is a metric of one kind of object, such as "pods".
type ObjectMetric struct {
	Resource schema.GroupResource
	Name     string
}

// Series is one value of an External metric.
type Series struct {
	Labels map[string]string
	Value  resource.Quantity
}

// Listing names all metrics of a source.
type Listing struct {
	Objects  []ObjectMetric
	External []string
}

// errBackendDown is what a source says while the fault "backend-down" stands.
var errBackendDown = errors.New("the backend is down")

// breakable is a source that fails as a whole while the fault "backend-down" stands.
type breakable struct {
	Source
	faults *Faults
}

func (s breakable) Objects(ctx context.Context, metric ObjectMetric, namespace string, names []string) (map[string]resource.Quantity, bool, error) {
	if s.faults.BackendDown() {
		return nil, false, errBackendDown
	}
	return s.Source.Objects(ctx, metric, namespace, names)
}

func (s breakable) External(ctx context.Context, name, namespace string, selector labels.Selector) ([]Series, bool, error) {
	if s.faults.BackendDown() {
		return nil, false, errBackendDown
	}
	return s.Source.External(ctx, name, namespace, selector)
}

func (s breakable) List(ctx context.Context) (Listing, error) {
	if s.faults.BackendDown() {
		return Listing{}, errBackendDown
	}
	return s.Source.List(ctx)
}
