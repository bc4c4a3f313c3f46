package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"
)

// document is the file of metrics; README.md shows one.
type document struct {
	Metrics  []objectEntry   `json:"metrics,omitempty"`
	External []externalEntry `json:"external,omitempty"`
}

type objectEntry struct {
	Name string `json:"name"`
	// Resource is "pods" when unset; "services", "deployments.apps" and so on for Object metrics.
	Resource string `json:"resource,omitempty"`
	// Namespaces that have values; unset means all. The metric is known everywhere.
	Namespaces []string `json:"namespaces,omitempty"`
	// Value is what every object reads; Values, by object name, win over it. With neither, the metric is known and has no series.
	Value  *resource.Quantity           `json:"value,omitempty"`
	Values map[string]resource.Quantity `json:"values,omitempty"`
}

type externalEntry struct {
	Name       string        `json:"name"`
	Namespaces []string      `json:"namespaces,omitempty"`
	Series     []seriesEntry `json:"series,omitempty"`
}

type seriesEntry struct {
	Labels map[string]string `json:"labels,omitempty"`
	Value  resource.Quantity `json:"value"`
}

// fileSource reads its file at every request, so that a change shows in the next answer. A file that cannot be read or
// parsed (somebody is writing it) is reported in the log, and the last good one counts.
type fileSource struct {
	path string

	mu   sync.Mutex
	last *document
}

// newFileSource fails when the file cannot be read or parsed now.
func newFileSource(path string) (*fileSource, error) {
	first, err := readDocument(path)
	if err != nil {
		return nil, err
	}
	return &fileSource{path: path, last: first}, nil
}

func readDocument(path string) (*document, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var read document
	if err := yaml.UnmarshalStrict(text, &read); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(text) == 0 {
		return nil, fmt.Errorf("%s is empty; for no metrics at all write `metrics: []`", path)
	}
	for i, entry := range read.Metrics {
		if entry.Name == "" {
			return nil, fmt.Errorf("%s: metrics[%d].name is not set", path, i)
		}
	}
	for i, entry := range read.External {
		if entry.Name == "" {
			return nil, fmt.Errorf("%s: external[%d].name is not set", path, i)
		}
	}
	return &read, nil
}

func (s *fileSource) current() *document {
	s.mu.Lock()
	defer s.mu.Unlock()
	read, err := readDocument(s.path)
	if err != nil {
		klog.ErrorS(err, "The file of metrics is not usable; its last good content stays")
		return s.last
	}
	s.last = read
	return read
}

func (e objectEntry) metric() ObjectMetric {
	if e.Resource == "" {
		return ObjectMetric{Resource: schema.GroupResource{Resource: "pods"}, Name: e.Name}
	}
	return ObjectMetric{Resource: schema.ParseGroupResource(e.Resource), Name: e.Name}
}

func (s *fileSource) Objects(_ context.Context, metric ObjectMetric, namespace string, names []string) (map[string]resource.Quantity, bool, error) {
	values, known := map[string]resource.Quantity{}, false
	for _, entry := range s.current().Metrics {
		if entry.metric() != metric {
			continue
		}
		known = true
		if len(entry.Namespaces) > 0 && !slices.Contains(entry.Namespaces, namespace) {
			continue
		}
		for _, name := range names {
			if own, found := entry.Values[name]; found {
				values[name] = own
			} else if entry.Value != nil {
				values[name] = *entry.Value
			}
		}
	}
	return values, known, nil
}

func (s *fileSource) External(_ context.Context, name, namespace string, selector labels.Selector) ([]Series, bool, error) {
	series, known := []Series{}, false
	for _, entry := range s.current().External {
		if entry.Name != name {
			continue
		}
		known = true
		if len(entry.Namespaces) > 0 && !slices.Contains(entry.Namespaces, namespace) {
			continue
		}
		for _, one := range entry.Series {
			if selector.Matches(labels.Set(one.Labels)) {
				series = append(series, Series(one))
			}
		}
	}
	return series, known, nil
}

func (s *fileSource) List(context.Context) (Listing, error) {
	var listing Listing
	for _, entry := range s.current().Metrics {
		if metric := entry.metric(); !slices.Contains(listing.Objects, metric) {
			listing.Objects = append(listing.Objects, metric)
		}
	}
	for _, entry := range s.current().External {
		if !slices.Contains(listing.External, entry.Name) {
			listing.External = append(listing.External, entry.Name)
		}
	}
	return listing, nil
}
