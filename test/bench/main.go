// Command bench compares Lateen's proxy with a stock Envoy, nginx and HAProxy
// on this machine, in one run: the same load through each in turn, round after
// round, so that all see the same noise. It prints the CPU time of the proxy's
// processes per request, latencies and memory, each as the median of the
// rounds with its spread, and the ratio to Envoy, pair by pair.
//
// Who calls it: `make bench`. Goroutines: the load's connections and the
// backend's, all in this process and ended before it exits.
//
// May import: nothing of ours; it runs the binary as anyone would.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	rounds   int
	duration time.Duration
	only     string
	peers    string
	jsonFile string
	lateen   string
	envoy    string
	maxRatio float64
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "how often each proxy is measured")
	flag.DurationVar(&o.duration, "duration", 3*time.Second, "length of one measurement")
	flag.StringVar(&o.only, "only", "", "run only the scenarios whose name contains this")
	flag.StringVar(&o.peers, "peers", "lateen,envoy,nginx,haproxy", "which proxies to compare")
	flag.StringVar(&o.jsonFile, "json", "", "also write the figures to this file")
	flag.StringVar(&o.lateen, "lateen", "bin/lateen-proxy", "the lateen-proxy binary")
	flag.StringVar(&o.envoy, "envoy", ".cache/bin/envoy", "the Envoy binary")
	flag.Float64Var(&o.maxRatio, "max-ratio", 0, "fail if Lateen's CPU per request on plain HTTP/1.1 is more than this share of Envoy's (0: no limit)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	work, err := os.MkdirTemp("", "lateen-bench-")
	if err != nil {
		return fmt.Errorf("scratch directory: %w", err)
	}
	defer os.RemoveAll(work)
	certs, err := writeCertificates(work)
	if err != nil {
		return err
	}
	servers, err := startBackends()
	if err != nil {
		return err
	}
	defer servers.Close()
	peers, err := startPeers(ctx, o, work, servers)
	defer stopPeers(peers)
	if err != nil {
		return err
	}
	var results []result
	for _, s := range scenarios() {
		if !strings.Contains(s.name, o.only) {
			continue
		}
		r, err := measure(ctx, o, s, peers, certs)
		if err != nil {
			return err
		}
		results = append(results, r)
		r.print(os.Stdout)
	}
	if len(results) == 0 {
		return fmt.Errorf("no scenario's name contains %q", o.only)
	}
	if o.jsonFile != "" {
		b, err := json.MarshalIndent(results, "", "  ")
		if err != nil {
			return fmt.Errorf("figures: %w", err)
		}
		if err := os.WriteFile(o.jsonFile, append(b, '\n'), 0o644); err != nil {
			return fmt.Errorf("figures: %w", err)
		}
	}
	return checkRatio(results, o.maxRatio)
}

// checkRatio fails when the first plain scenario is over the limit.
func checkRatio(results []result, limit float64) error {
	if limit == 0 {
		return nil
	}
	for _, r := range results {
		if r.Scenario != plainScenario {
			continue
		}
		ratio := r.Peers["lateen"].RatioToEnvoy.Median
		if ratio == 0 || ratio > limit {
			return fmt.Errorf("%s: CPU per request is %.2f of Envoy's; the limit is %.2f", r.Scenario, ratio, limit)
		}
		return nil
	}
	return fmt.Errorf("the limit needs the scenario %q", plainScenario)
}
