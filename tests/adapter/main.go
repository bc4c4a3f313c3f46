// Command adapter is the metrics adapter of scalegate's tests and demo. It serves custom.metrics.k8s.io and
// external.metrics.k8s.io behind a real API server's aggregation layer, answers as one of two adapters of the field do, and
// can be told to fail. README.md has its answers, word for word.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/logs"

	basecmd "sigs.k8s.io/custom-metrics-apiserver/pkg/cmd"
	"sigs.k8s.io/custom-metrics-apiserver/pkg/provider"
)

func main() {
	logs.InitLogs()
	defer logs.FlushLogs()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "adapter:", err)
		logs.FlushLogs()
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	base := &basecmd.AdapterBase{Name: "scalegate-tests-adapter", DiscoveryInterval: 10 * time.Minute}
	flags := base.Flags()
	mode := flags.String("mode", "", "whose answers to give: prometheus-adapter or stackdriver")
	metrics := flags.String("metrics", "", "file of metrics to serve (YAML, read again at every request)")
	prometheus := flags.String("prometheus-url", "", "serve what this Prometheus has, instead of --metrics")
	faultLines := flags.StringArray("fault", nil, "a fault that always holds, such as \"slow 400 metrics\"; may be repeated")
	faultFile := flags.String("faults", "", "file of faults, one a line, read again at every request; it need not exist")
	logs.AddFlags(flags)
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if !flags.Changed("client-qps") {
		base.ClientQPS, base.ClientBurst = 200, 400 // the library's 5 a second would throttle a test's probes
	}

	faults, err := newFaults(*faultLines, *faultFile)
	if err != nil {
		return err
	}
	source, err := newSource(*mode, *metrics, *prometheus)
	if err != nil {
		return err
	}
	source = breakable{Source: source, faults: faults}

	client, err := base.DynamicClient()
	if err != nil {
		return err
	}
	mapper, err := base.RESTMapper()
	if err != nil {
		return err
	}
	cluster := liveCluster{client: client, mapper: mapper}
	var adapter provider.MetricsProvider
	switch *mode {
	case "prometheus-adapter":
		adapter = &prometheusAdapter{source: source, cluster: cluster}
	case "stackdriver":
		adapter = newStackdriver(ctx, source, cluster)
	default:
		return fmt.Errorf("--mode is %q; want prometheus-adapter or stackdriver", *mode)
	}
	base.WithCustomMetrics(adapter)
	base.WithExternalMetrics(adapter)

	config, err := base.Config()
	if err != nil {
		return err
	}
	config.GenericConfig.BuildHandlerChainFunc = func(api http.Handler, c *genericapiserver.Config) http.Handler {
		return genericapiserver.DefaultBuildHandlerChain(faults.Wrap(api), c)
	}
	return base.Run(ctx)
}

func newSource(mode, metrics, prometheus string) (Source, error) {
	switch {
	case metrics != "" && prometheus != "":
		return nil, fmt.Errorf("--metrics and --prometheus-url exclude each other")
	case metrics != "":
		return newFileSource(metrics)
	case prometheus != "":
		return newPrometheusSource(mode, prometheus)
	}
	return nil, fmt.Errorf("one of --metrics FILE and --prometheus-url URL is needed")
}
