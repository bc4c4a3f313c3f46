package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// prometheusSource serves every series of a Prometheus that has the labels `namespace` and `pod`, under the name that the
// mode's backend would give it.
//
// As Managed Prometheus (mode stackdriver): `prometheus.googleapis.com|SERIES|KIND`. KIND has to be what the series' metadata
// says; a series without metadata comes from a recording rule, and is a gauge. A type seen once stays known, as a descriptor
// does. Counters are rates per second.
// As prometheus-adapter: the series' name with `_` for `:`, any kind of series as it reads.
//
// Of the objects that a metric can describe, it knows pods only.
type prometheusSource struct {
	mode   string
	base   string
	client *http.Client

	mu    sync.Mutex
	types map[string]bool // GMP names that were there at least once
}

const gmpPrefix = "prometheus.googleapis.com|"

var (
	podResource = schema.GroupResource{Resource: "pods"}
	// seriesName is what Prometheus allows without quotes. Only such a name is put into a query.
	seriesName = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
)

func newPrometheusSource(mode, base string) (Source, error) {
	parsed, err := url.Parse(base)
	if err != nil || parsed.Host == "" {
		return nil, fmt.Errorf("--prometheus-url is %q; want a URL such as http://127.0.0.1:9090", base)
	}
	return &prometheusSource{
		mode:   mode,
		base:   strings.TrimSuffix(base, "/"),
		client: &http.Client{Timeout: 5 * time.Second},
		types:  map[string]bool{},
	}, nil
}

func (s *prometheusSource) Objects(ctx context.Context, metric ObjectMetric, namespace string, names []string) (map[string]resource.Quantity, bool, error) {
	if metric.Resource != podResource {
		return nil, false, nil
	}
	series, kind, known, err := s.resolve(ctx, metric.Name)
	if err != nil || !known || len(names) == 0 {
		return nil, known, err
	}
	var pods []string
	for _, name := range names {
		pods = append(pods, regexp.QuoteMeta(name))
	}
	vector := fmt.Sprintf("%s{namespace=%s,pod=~%s}", series, strconv.Quote(namespace), strconv.Quote(strings.Join(pods, "|")))
	if kind == "counter" {
		vector = "rate(" + strings.TrimSuffix(vector, "}") + "}[1m])"
	}
	var answer struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Value  [2]any            `json:"value"`
		} `json:"result"`
	}
	if err := s.get(ctx, "/api/v1/query", url.Values{"query": {"sum by (pod) (" + vector + ")"}}, &answer); err != nil {
		return nil, true, err
	}
	values := map[string]resource.Quantity{}
	for _, one := range answer.Result {
		text, _ := one.Value[1].(string)
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, true, fmt.Errorf("value %q of %s is not a number", text, series)
		}
		if math.IsNaN(number) {
			number = 0
		}
		values[one.Metric["pod"]] = *resource.NewMilliQuantity(int64(number*1000), resource.DecimalSI)
	}
	return values, true, nil
}

// External is not served from Prometheus: nothing in the demo scales on one.
func (s *prometheusSource) External(context.Context, string, string, labels.Selector) ([]Series, bool, error) {
	return nil, false, nil
}

func (s *prometheusSource) List(ctx context.Context) (Listing, error) {
	series, err := s.series(ctx)
	if err != nil {
		return Listing{}, err
	}
	var listing Listing
	seen := map[string]bool{}
	for _, one := range series {
		name := one
		if s.mode == "prometheus-adapter" {
			name = strings.ReplaceAll(one, ":", "_")
		} else {
			kind, err := s.kind(ctx, one)
			if err != nil {
				return Listing{}, err
			}
			name = gmpPrefix + one + "|" + kind
		}
		if !seen[name] {
			seen[name] = true
			listing.Objects = append(listing.Objects, ObjectMetric{Resource: podResource, Name: name})
		}
	}
	return listing, nil
}

// resolve finds the series behind a metric's name. kind is empty where values are served as they read.
func (s *prometheusSource) resolve(ctx context.Context, name string) (series, kind string, known bool, err error) {
	if s.mode == "prometheus-adapter" {
		all, err := s.series(ctx)
		if err != nil {
			return "", "", false, err
		}
		for _, one := range all {
			if strings.ReplaceAll(one, ":", "_") == name {
				return one, "", true, nil
			}
		}
		return "", "", false, nil
	}
	series, kind, found := strings.Cut(strings.TrimPrefix(name, gmpPrefix), "|")
	if !found || !strings.HasPrefix(name, gmpPrefix) || !seriesName.MatchString(series) {
		return "", "", false, nil
	}
	all, err := s.series(ctx)
	if err != nil {
		return "", "", false, err
	}
	s.mu.Lock()
	before := s.types[name]
	s.mu.Unlock()
	if before {
		return series, kind, true, nil
	}
	if !slices.Contains(all, series) {
		return "", "", false, nil
	}
	actual, err := s.kind(ctx, series)
	if err != nil || actual != kind {
		return "", "", false, err
	}
	s.mu.Lock()
	s.types[name] = true
	s.mu.Unlock()
	return series, kind, true, nil
}

// series names the series that are about pods, in order.
func (s *prometheusSource) series(ctx context.Context) ([]string, error) {
	var names []string
	err := s.get(ctx, "/api/v1/label/__name__/values", url.Values{"match[]": {`{pod!="",namespace!=""}`}}, &names)
	names = slices.DeleteFunc(names, func(name string) bool { return !seriesName.MatchString(name) })
	slices.Sort(names)
	return names, err
}

// kind is the suffix that Managed Prometheus gives a series: a histogram's parts have the metadata of the family.
func (s *prometheusSource) kind(ctx context.Context, series string) (string, error) {
	families := []string{series}
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if family, cut := strings.CutSuffix(series, suffix); cut {
			families = append(families, family)
		}
	}
	for _, family := range families {
		var metadata map[string][]struct {
			Type string `json:"type"`
		}
		if err := s.get(ctx, "/api/v1/metadata", url.Values{"metric": {family}}, &metadata); err != nil {
			return "", err
		}
		for _, name := range slices.Sorted(maps.Keys(metadata)) {
			for _, entry := range metadata[name] {
				switch entry.Type {
				case "counter", "histogram", "summary":
					return entry.Type, nil
				case "unknown", "untyped":
					return "unknown", nil
				}
				return "gauge", nil // gauge, info, stateset
			}
		}
	}
	return "gauge", nil // no metadata: what a recording rule made
}

// get asks Prometheus' HTTP API, and decodes `data`.
func (s *prometheusSource) get(ctx context.Context, path string, query url.Values, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 16<<20)).Decode(&answer); err != nil {
		return fmt.Errorf("%s: status %d: %w", path, response.StatusCode, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: status %d: %s", path, response.StatusCode, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}
