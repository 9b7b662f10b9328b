// Command control measures the control plane's delivery. It writes the
// configuration of a mesh of N services, starts `lateen control` on it as a
// process of its own, connects K clients that behave as sidecars do, and
// measures what they received, when the last of them had everything, what it
// cost the server, and how long a change takes to the last client. At the end
// every client must hold exactly what a translation from scratch says. The
// figures are printed beside the goals and beside istiod's.
//
// With -chaos it measures nothing: two control planes serve one configuration,
// are killed in turn while it changes all the time, and clients come and go,
// refuse, stall and attack. Whoever behaves must get every change within a
// bound, and at the end hold exactly what it shall.
//
// Who calls it: `make bench-control`, and CI with -short. Goroutines: one for
// each client and those of its gRPC connection, all ended before it exits.
//
// May import: all rooms, as a test does; the server that is measured is the
// lateen binary.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	lateen   string
	only     string
	short    bool
	changes  int
	jsonFile string
	timeout  time.Duration
	profile  string
	kinds    string
	goals    bool
	plot     string
	custom   scenario
	chaos    chaosOptions
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == workloadRole {
		if err := runRole(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench-control:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.StringVar(&o.lateen, "lateen", "bin/lateen", "the lateen binary")
	flag.StringVar(&o.only, "only", "", "run only the scenarios whose name contains this")
	flag.BoolVar(&o.short, "short", false, "a small mesh, judged by ratios to a calibration loop, for CI")
	flag.IntVar(&o.changes, "changes", 7, "how often each kind of change is made")
	flag.StringVar(&o.jsonFile, "json", "", "also write the figures to this file")
	flag.DurationVar(&o.timeout, "timeout", 3*time.Minute, "limit for each step of a scenario")
	flag.StringVar(&o.profile, "pause", "", "wait for a key before each of these steps: connect, endpoint, route, churn (comma-separated), to attach a profiler")
	flag.StringVar(&o.kinds, "kinds", "endpoint,route", "the kinds of changes that are made")
	flag.BoolVar(&o.goals, "strict", false, "fail when a goal is missed")
	flag.StringVar(&o.plot, "plot", "", "measure what one change costs as the mesh grows, and draw it into this SVG file")
	flag.IntVar(&o.custom.services, "services", 0, "run one scenario of so many services instead of the list")
	flag.IntVar(&o.custom.clients, "clients", 1, "clients of that scenario")
	flag.BoolVar(&o.custom.scoped, "scoped", false, "that scenario has a Sidecar for each namespace")
	flag.BoolVar(&o.custom.sotw, "sotw", false, "its clients speak the state-of-the-world protocol")
	flag.BoolVar(&o.custom.ours, "ours", false, "its clients are Lateen's proxies instead of stock Envoys")
	flag.BoolVar(&o.custom.onDemand, "on-demand", false, "its clients are Lateen's proxies that ask for what they use, a few names each")
	flag.DurationVar(&o.custom.churn, "churn", 0, "and then 100 endpoint changes a second for so long")
	flag.BoolVar(&o.custom.churnForAll, "churn-for-all", false, "of services that all clients see, whatever their Sidecar says")
	flag.DurationVar(&o.chaos.lasts, "chaos", 0, "instead of measuring: replicas that are killed, clients that come and go, refuse, stall and attack, for so long")
	flag.Uint64Var(&o.chaos.seed, "seed", 1, "what happens in that time; an odd one has a Sidecar for each namespace")
	flag.IntVar(&o.chaos.attackers, "attackers", 8, "malicious clients at any moment of it")
	flag.DurationVar(&o.chaos.bound, "bound", 20*time.Second, "how long a change may take in it to a client left in peace")
	flag.Int64Var(&o.chaos.memory, "memory", 600<<20, "bytes that a control plane may use in it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench-control:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	if o.chaos.lasts > 0 {
		o.chaos.lateen = o.lateen
		o.chaos.services, o.chaos.clients = max(o.custom.services, chaosServices), max(o.custom.clients, chaosClients)
		return runChaos(ctx, o.chaos, out)
	}
	if o.short {
		return runShort(ctx, o, out)
	}
	list := scenarios()
	if o.plot != "" {
		list = curveScenarios()
	}
	if o.custom.services > 0 {
		list = []scenario{o.custom}
	}
	var all []*result
	missed := 0
	for _, s := range list {
		if !strings.Contains(s.name(), o.only) {
			continue
		}
		r, err := measure(ctx, o, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
		missed += r.print(out)
		all = append(all, r)
	}
	printCurve(out, all)
	if o.custom.services == 0 && o.plot == "" && strings.Contains(sidecarsName, o.only) {
		n, err := runSidecars(ctx, o, out)
		if err != nil {
			return err
		}
		missed += n
	}
	if o.plot != "" {
		if err := writePlot(o.plot, all, time.Now()); err != nil {
			return err
		}
	}
	if o.jsonFile != "" {
		b, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			return fmt.Errorf("figures: %w", err)
		}
		if err := os.WriteFile(o.jsonFile, append(b, '\n'), 0o644); err != nil {
			return fmt.Errorf("figures: %w", err)
		}
	}
	if o.goals && missed > 0 {
		return fmt.Errorf("%d goals missed", missed)
	}
	return nil
}
