package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	apierr "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/metrics/pkg/apis/custom_metrics"

	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
)

const running = "prometheus.googleapis.com|vllm:num_requests_running|gauge"

const fixture = `
metrics:
- {name: "prometheus.googleapis.com|vllm:num_requests_running|gauge", namespaces: [serving], value: "4", values: {vllm-1: 2500m}}
- {name: nothing-yet}
- {name: depth, resource: services, values: {front: "7"}}
external:
- name: queue
  series:
  - {labels: {metric.labels.queue: a}, value: "30"}
  - {labels: {metric.labels.queue: b}, value: "5"}
`

// pods is a cluster with two pods labelled app=vllm, and a Service, in the namespace serving.
type pods struct{}

func (pods) Select(_ context.Context, _ provider.CustomMetricInfo, namespace string, selector labels.Selector) ([]string, error) {
	if namespace == "serving" && selector.Matches(labels.Set{"app": "vllm"}) {
		return []string{"vllm-0", "vllm-1"}, nil
	}
	return nil, nil
}

func (pods) Get(_ context.Context, info provider.CustomMetricInfo, name types.NamespacedName) error {
	switch info.GroupResource.Resource + "/" + name.Name {
	case "pods/vllm-0", "pods/vllm-1", "services/front":
		return nil
	}
	return apierr.NewNotFound(info.GroupResource, name.Name)
}

func (pods) Reference(_ provider.CustomMetricInfo, name types.NamespacedName) (custom_metrics.ObjectReference, error) {
	return custom_metrics.ObjectReference{Kind: "Pod", APIVersion: "/v1", Namespace: name.Namespace, Name: name.Name}, nil
}

// serve builds an adapter of the mode over the fixture, and returns what writes its file of faults.
func serve(t *testing.T, mode string) (provider.MetricsProvider, func(string)) {
	t.Helper()
	folder := t.TempDir()
	file, faultFile := filepath.Join(folder, "metrics.yaml"), filepath.Join(folder, "faults")
	write(t, file, fixture)
	inner, err := newFileSource(file)
	if err != nil {
		t.Fatal(err)
	}
	faults, err := newFaults(nil, faultFile)
	if err != nil {
		t.Fatal(err)
	}
	source := breakable{Source: inner, faults: faults}
	setFaults := func(text string) { write(t, faultFile, text) }
	if mode == "stackdriver" {
		return newStackdriver(context.Background(), source, pods{}), setFaults
	}
	return &prometheusAdapter{source: source, cluster: pods{}}, setFaults
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func selector(t *testing.T, text string) labels.Selector {
	t.Helper()
	parsed, err := labels.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func info(resource, metric string) provider.CustomMetricInfo {
	return provider.CustomMetricInfo{GroupResource: schema.GroupResource{Resource: resource}, Namespaced: true, Metric: metric}
}

// outcome is the status code and the message of an error, or the values of an answer.
func outcome(list *custom_metrics.MetricValueList, err error) (int, string) {
	if err != nil {
		status := err.(apierr.APIStatus).Status()
		return int(status.Code), status.Message
	}
	values := []string{}
	for _, item := range list.Items {
		values = append(values, item.DescribedObject.Name+"="+item.Value.String())
	}
	return 200, strings.Join(values, " ")
}

func TestEachModeAnswersAsItsAdapterDoes(t *testing.T) {
	const noDescriptor = `the server could not find the descriptor for metric `
	cases := []struct {
		mode, namespace, pods, metric, metricSelector, faults string
		code                                                  int
		answer                                                string
	}{
		{"prometheus-adapter", "serving", "app=vllm", running, "", "", 200, "vllm-0=4 vllm-1=2500m"},
		{"prometheus-adapter", "serving", "app=vllm", "absent", "", "", 404, "the server could not find the metric absent for pods"},
		{"prometheus-adapter", "serving", "app=other", running, "", "", 404, "the server could not find the metric " + running + " for pods"},
		{"prometheus-adapter", "serving", "app=vllm", "nothing-yet", "", "", 200, ""},
		{"prometheus-adapter", "serving", "app=vllm", running, "", "backend-down", 404, "the server could not find the metric " + running + " for pods"},
		{"stackdriver", "serving", "app=vllm", running, "", "", 200, "vllm-0=4 vllm-1=2500m"},
		{"stackdriver", "serving", "app=vllm", "absent", "", "", 404, noDescriptor + `"custom.googleapis.com/absent"`},
		{"stackdriver", "serving", "app=other", running, "", "", 200, ""},
		{"stackdriver", "serving", "app=vllm", "nothing-yet", "", "", 200, ""},
		{"stackdriver", "serving", "app=vllm", running, "", "backend-down", 404, noDescriptor + `"prometheus.googleapis.com/vllm:num_requests_running/gauge"`},
		{"stackdriver", "serving", "app=vllm", running, "model=a", "", 400, `Metric label: "model" is not allowed`},
		{"stackdriver", "serving", "app=vllm", running, "!metric.labels.model", "", 400, "Label selector with operator DoesNotExist is not allowed"},
		{"stackdriver", "serving", "app=other", running, "model=a", "", 200, ""},
	}
	for _, c := range cases {
		t.Run(strings.Join([]string{c.mode, c.pods, c.metric, c.metricSelector, c.faults}, " "), func(t *testing.T) {
			adapter, setFaults := serve(t, c.mode)
			setFaults(c.faults)
			code, answer := outcome(adapter.GetMetricBySelector(context.Background(), c.namespace, selector(t, c.pods), info("pods", c.metric), selector(t, c.metricSelector)))
			if code != c.code || answer != c.answer {
				t.Errorf("got %d %q; want %d %q", code, answer, c.code, c.answer)
			}
		})
	}
}

func TestPrometheusAdapterKeepsItsListWhenThePrometheusGoesAway(t *testing.T) {
	adapter, setFaults := serve(t, "prometheus-adapter")
	before := adapter.ListAllMetrics()
	setFaults("backend-down")
	if after := adapter.ListAllMetrics(); len(before) != 3 || !reflect.DeepEqual(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
	code, answer := outcome(adapter.GetMetricBySelector(context.Background(), "serving", selector(t, "app=vllm"), info("pods", running), labels.Everything()))
	if code != 500 || answer != "Internal error occurred: unable to fetch metrics" {
		t.Errorf("got %d %q", code, answer)
	}
}

func TestStackdriverShowsOneMetricThatIsNotOfManagedPrometheus(t *testing.T) {
	adapter, _ := serve(t, "stackdriver")
	shown := adapter.ListAllMetrics()
	if len(shown) != 1 || shown[0].String() != "*/custom.googleapis.com|nothing-yet(namespaced)" {
		t.Errorf("shows %v", shown)
	}
}

func TestObjectMetricsAreServedByPrometheusAdapterAlone(t *testing.T) {
	name := types.NamespacedName{Namespace: "serving", Name: "front"}
	adapter, _ := serve(t, "prometheus-adapter")
	value, err := adapter.GetMetricByName(context.Background(), name, info("services", "depth"), labels.Everything())
	if err != nil || value.Value.String() != "7" {
		t.Errorf("got %v %v", value, err)
	}
	adapter, _ = serve(t, "stackdriver")
	_, err = adapter.GetMetricByName(context.Background(), name, info("services", "depth"), labels.Everything())
	if code, message := outcome(nil, err); code != 501 || message != `Operation: "Get namespaced metric by name for resource \"services\"" is not implemented` {
		t.Errorf("got %d %q", code, message)
	}
}

func TestAPodThatIsNotThereHasNoMetricInEitherMode(t *testing.T) {
	name := types.NamespacedName{Namespace: "serving", Name: "nobody"}
	for mode, want := range map[string]string{
		"prometheus-adapter": "the server could not find the metric " + running + " for pods nobody",
		"stackdriver":        `pods "nobody" not found`,
	} {
		adapter, _ := serve(t, mode)
		_, err := adapter.GetMetricByName(context.Background(), name, info("pods", running), labels.Everything())
		if err == nil {
			t.Errorf("%s: served", mode)
		} else if code, message := outcome(nil, err); code != 404 || message != want {
			t.Errorf("%s: got %d %q", mode, code, message)
		}
	}
}

func TestExternalMetricsFollowTheModeToo(t *testing.T) {
	cases := []struct {
		mode, metric, selector string
		code, items            int
	}{
		{"prometheus-adapter", "queue", "", 200, 2},
		{"prometheus-adapter", "absent", "", 404, 0},
		{"stackdriver", "queue", "metric.labels.queue=a,reducer=sum", 200, 1},
		{"stackdriver", "queue", "metric.labels.queue=none", 200, 0},
		{"stackdriver", "queue", "queue=a", 400, 0},
		{"stackdriver", "absent", "", 404, 0},
	}
	for _, c := range cases {
		adapter, _ := serve(t, c.mode)
		list, err := adapter.GetExternalMetric(context.Background(), "serving", selector(t, c.selector), provider.ExternalMetricInfo{Metric: c.metric})
		code, items := 200, 0
		if err != nil {
			code, _ = outcome(nil, err)
		} else {
			items = len(list.Items)
		}
		if code != c.code || items != c.items {
			t.Errorf("%+v: got %d with %d items (%v)", c, code, items, err)
		}
	}
}

func TestAFileThatDoesNotParseLeavesTheLastGoodOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metrics.yaml")
	write(t, path, "metrics: [{name: first}]")
	source, err := newFileSource(path)
	if err != nil {
		t.Fatal(err)
	}
	names := func() string {
		listing, _ := source.List(context.Background())
		return listing.Objects[0].Name
	}
	for _, broken := range []string{"", "metrics: [{nam: second}]", "metrics: [{"} {
		write(t, path, broken)
		if names() != "first" {
			t.Errorf("%q replaced the good file", broken)
		}
	}
	write(t, path, "metrics: [{name: second}]")
	if names() != "second" {
		t.Error("a change does not show")
	}
}

func TestFaultsThatCannotBeMeantAreRefused(t *testing.T) {
	for _, line := range []string{"hangs", "slow", "slow soon", "broken 418", "hang everything", "empty metrics discovery", "backend-down metrics"} {
		if _, err := newFaults([]string{line}, ""); err == nil {
			t.Errorf("%q passed", line)
		}
	}
	if _, err := newFaults([]string{"", "# a remark", "slow 10 discovery", "broken 503", "empty metrics", "hang", "backend-down"}, ""); err != nil {
		t.Error(err)
	}
}

func TestFaultsHitTheirOwnRequestsOnly(t *testing.T) {
	const discovery, metrics = "/apis/custom.metrics.k8s.io/v1beta2", "/apis/custom.metrics.k8s.io/v1beta2/namespaces/serving/pods/*/x"
	cases := []struct {
		fault, path string
		code        int
		body        string
	}{
		{"", metrics, 200, "served"},
		{"broken 503", "/readyz", 200, "served"},
		{"broken 503", discovery, 503, "broken on purpose"},
		{"broken 403 metrics", discovery, 200, "served"},
		{"broken 403 metrics", metrics, 403, "broken on purpose"},
		{"broken 429", metrics, 429, "broken on purpose"},
		{"broken 500", metrics, 500, "broken on purpose"},
		{"empty metrics", metrics, 200, `"items":[]`},
		{"empty discovery", discovery, 200, `"resources":[]`},
		{"empty", "/apis", 200, "served"},
		{"nonsense", metrics, 500, "nonsense"},
	}
	resolver := &request.RequestInfoFactory{}
	resolver.APIPrefixes = sets.NewString("apis")
	for _, c := range cases {
		file := filepath.Join(t.TempDir(), "faults")
		write(t, file, c.fault)
		faults, err := newFaults(nil, file)
		if err != nil {
			t.Fatal(err)
		}
		handler := faults.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("served")) }))
		r := httptest.NewRequest(http.MethodGet, c.path, nil)
		resolved, err := resolver.NewRequestInfo(r)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(request.WithRequestInfo(r.Context(), resolved)))
		if w.Code != c.code || !strings.Contains(strings.Join(strings.Fields(w.Body.String()), ""), strings.ReplaceAll(c.body, " ", "")) {
			t.Errorf("%q on %s: got %d %s", c.fault, c.path, w.Code, w.Body)
		}
	}
}

func TestAHangEndsWithItsRequest(t *testing.T) {
	faults, err := newFaults([]string{"hang"}, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	served := false
	handler := faults.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true }))
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/apis/custom.metrics.k8s.io/v1beta2", nil).WithContext(ctx))
	if served {
		t.Error("a request that hangs was served")
	}
}

// prometheus is a server with one gauge, one counter and one recorded series, each with a value for the pod vllm-0, until
// they are all gone.
func prometheus(t *testing.T, gone *atomic.Bool) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var data any
		switch r.URL.Path {
		case "/api/v1/label/__name__/values":
			data = []string{"vllm:num_requests_running", "vllm:prompt_tokens_total", "dcgm_fi_dev_gpu_util"}
			if gone.Load() {
				data = []string{}
			}
		case "/api/v1/metadata":
			types := map[string]string{"vllm:num_requests_running": "gauge", "vllm:prompt_tokens_total": "counter"}
			metadata := map[string]any{}
			if kind, found := types[r.URL.Query().Get("metric")]; found {
				metadata[r.URL.Query().Get("metric")] = []map[string]string{{"type": kind}}
			}
			data = metadata
		case "/api/v1/query":
			value := map[string]string{
				`sum by (pod) (vllm:num_requests_running{namespace="serving",pod=~"vllm-0|vllm-1"})`:          "12",
				`sum by (pod) (rate(vllm:prompt_tokens_total{namespace="serving",pod=~"vllm-0|vllm-1"}[1m]))`: "0.25",
				`sum by (pod) (dcgm_fi_dev_gpu_util{namespace="serving",pod=~"vllm-0|vllm-1"})`:               "NaN",
			}[r.URL.Query().Get("query")]
			data = map[string]any{"result": []any{map[string]any{"metric": map[string]string{"pod": "vllm-0"}, "value": []any{1, value}}}}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data})
	}))
	t.Cleanup(server.Close)
	return server
}

func TestAPrometheusIsServedUnderTheNamesOfTheMode(t *testing.T) {
	server := prometheus(t, new(atomic.Bool))
	cases := []struct{ mode, metric, answer string }{
		{"stackdriver", running, "vllm-0=12"},
		{"stackdriver", "prometheus.googleapis.com|vllm:prompt_tokens_total|counter", "vllm-0=250m"},
		{"stackdriver", "prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge", "vllm-0=0"},
		{"stackdriver", "prometheus.googleapis.com|vllm:prompt_tokens_total|gauge", "unknown"},
		{"stackdriver", "prometheus.googleapis.com|vllm:num_requests_runing|gauge", "unknown"},
		{"stackdriver", "vllm:num_requests_running", "unknown"},
		{"prometheus-adapter", "vllm_num_requests_running", "vllm-0=12"},
		{"prometheus-adapter", "vllm:num_requests_running", "unknown"},
	}
	for _, c := range cases {
		source, err := newPrometheusSource(c.mode, server.URL)
		if err != nil {
			t.Fatal(err)
		}
		values, known, err := source.Objects(context.Background(), ObjectMetric{podResource, c.metric}, "serving", []string{"vllm-0", "vllm-1"})
		answer := "unknown"
		if known {
			value := values["vllm-0"]
			answer = "vllm-0=" + value.String()
		}
		if err != nil || answer != c.answer {
			t.Errorf("%s %s: got %s %v; want %s", c.mode, c.metric, answer, err, c.answer)
		}
	}
}

func TestATypeOnceSeenStaysKnownAndAnOutageIsAnError(t *testing.T) {
	var gone atomic.Bool
	server := prometheus(t, &gone)
	source, err := newPrometheusSource("stackdriver", server.URL)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name string) (bool, error) {
		_, known, err := source.Objects(context.Background(), ObjectMetric{podResource, name}, "serving", nil)
		return known, err
	}
	if known, err := ask(running); !known || err != nil {
		t.Fatalf("known %v, %v", known, err)
	}
	gone.Store(true)
	if known, err := ask(running); !known || err != nil {
		t.Errorf("after the last series went: known %v, %v", known, err)
	}
	if known, err := ask("prometheus.googleapis.com|dcgm_fi_dev_gpu_util|gauge"); known || err != nil {
		t.Errorf("never seen: known %v, %v", known, err)
	}
	server.Close()
	if known, err := ask(running); known || err == nil {
		t.Errorf("with the server away: known %v, %v", known, err)
	}
}
