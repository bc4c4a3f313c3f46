package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	apierr "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"

	"sigs.k8s.io/custom-metrics-apiserver/pkg/apiserver"
)

// Faults are the ways in which the adapter misbehaves: those of the flags always, those of the file while they stand there.
// The file is read at every request; no file means no fault.
type Faults struct {
	always []fault
	file   string
}

// fault is one line: KIND [NUMBER] [discovery|metrics]. Without the last word it holds for both.
type fault struct {
	kind   string // hang, slow, broken, empty, backend-down
	number int    // slow: milliseconds; broken: HTTP status
	scope  string // "", discovery, metrics
}

const faultSyntax = "want `hang`, `slow MILLISECONDS`, `broken 403|429|500|503`, `empty`, each followed by nothing, `discovery` or `metrics`; or `backend-down`"

// newFaults takes the faults of the flags and the path of the file, which may be empty.
func newFaults(lines []string, file string) (*Faults, error) {
	always, err := parseFaults(lines)
	if err != nil {
		return nil, fmt.Errorf("--fault: %w", err)
	}
	return &Faults{always: always, file: file}, nil
}

func parseFaults(lines []string) ([]fault, error) {
	var parsed []fault
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		one := fault{kind: words[0]}
		rest := words[1:]
		if one.kind == "slow" || one.kind == "broken" {
			if len(rest) == 0 {
				return nil, fmt.Errorf("%q has no number; %s", line, faultSyntax)
			}
			number, err := strconv.Atoi(rest[0])
			if err != nil || number < 0 {
				return nil, fmt.Errorf("%q: %q is not a number; %s", line, rest[0], faultSyntax)
			}
			one.number, rest = number, rest[1:]
		}
		if len(rest) > 0 && one.kind != "backend-down" {
			one.scope, rest = rest[0], rest[1:]
		}
		known := slices.Contains([]string{"hang", "slow", "broken", "empty", "backend-down"}, one.kind) &&
			slices.Contains([]string{"", "discovery", "metrics"}, one.scope) &&
			(one.kind != "broken" || slices.Contains([]int{403, 429, 500, 503}, one.number))
		if !known || len(rest) > 0 {
			return nil, fmt.Errorf("%q is not a fault; %s", line, faultSyntax)
		}
		parsed = append(parsed, one)
	}
	return parsed, nil
}

func (f *Faults) current() ([]fault, error) {
	if f.file == "" {
		return f.always, nil
	}
	text, err := os.ReadFile(f.file)
	if errors.Is(err, fs.ErrNotExist) {
		return f.always, nil
	}
	if err != nil {
		return nil, err
	}
	now, err := parseFaults(strings.Split(string(text), "\n"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.file, err)
	}
	return append(slices.Clone(f.always), now...), nil
}

// BackendDown says whether the source has to fail. A file that does not parse is reported by Wrap.
func (f *Faults) BackendDown() bool {
	now, _ := f.current()
	return slices.ContainsFunc(now, func(one fault) bool { return one.kind == "backend-down" })
}

// Wrap puts the faults before the metrics APIs. It stands behind authentication and authorization; health checks and the
// OpenAPI document stay as they are.
func (f *Faults) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/apis" && !strings.HasPrefix(r.URL.Path, "/apis/") {
			next.ServeHTTP(w, r)
			return
		}
		scope := "discovery"
		info, found := request.RequestInfoFrom(r.Context())
		if found && info.IsResourceRequest {
			scope = "metrics"
		}
		now, err := f.current()
		if err != nil {
			writeError(w, r, apierr.NewInternalError(err)) // the test's own mistake: say it loudly
			return
		}
		for _, one := range now {
			if one.scope != "" && one.scope != scope {
				continue
			}
			switch one.kind {
			case "hang":
				<-r.Context().Done() // the caller gives up, or the server's own request timeout (60 s) does
				return
			case "slow":
				select {
				case <-time.After(time.Duration(one.number) * time.Millisecond):
				case <-r.Context().Done():
					return
				}
			case "broken":
				writeError(w, r, brokenError(one.number))
				return
			case "empty":
				if writeEmpty(w, r, scope, info) {
					return
				}
			}
		}
		next.ServeHTTP(w, r)
	})
}

func brokenError(status int) error {
	switch status {
	case http.StatusForbidden:
		return apierr.NewForbidden(schema.GroupResource{}, "", errors.New("broken on purpose"))
	case http.StatusTooManyRequests:
		return apierr.NewTooManyRequests("broken on purpose", 1)
	case http.StatusServiceUnavailable:
		return apierr.NewServiceUnavailable("broken on purpose")
	default:
		return apierr.NewInternalError(errors.New("broken on purpose"))
	}
}

func writeError(w http.ResponseWriter, r *http.Request, err error) {
	responsewriters.ErrorNegotiated(err, apiserver.Codecs, schema.GroupVersion{Version: "v1"}, w, r)
}

// writeEmpty answers a list of the right kind with nothing in it, and says whether the request was for a list.
func writeEmpty(w http.ResponseWriter, r *http.Request, scope string, info *request.RequestInfo) bool {
	if scope == "metrics" {
		kind := "MetricValueList"
		if info.APIGroup == "external.metrics.k8s.io" {
			kind = "ExternalMetricValueList"
		}
		responsewriters.WriteRawJSON(http.StatusOK, map[string]any{
			"kind": kind, "apiVersion": info.APIGroup + "/" + info.APIVersion, "metadata": map[string]any{}, "items": []any{},
		}, w)
		return true
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) != 3 { // /apis and /apis/GROUP name groups and versions, no metrics
		return false
	}
	responsewriters.WriteRawJSON(http.StatusOK, metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: parts[1] + "/" + parts[2],
		APIResources: []metav1.APIResource{},
	}, w)
	return true
}
