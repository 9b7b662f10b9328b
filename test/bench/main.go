// Command bench compares Lateen's proxy with a stock Envoy, nginx and HAProxy
// on this machine, in one run: the same load through each in turn, round after
// round, so that all see the same noise. It prints the CPU time of the proxy's
// processes per unit of work, latencies and memory, each as the median of the
// rounds with its spread, the ratio to the peers pair by pair, and at the end
// every goal with what was reached.
//
// Who calls it: `make bench`. Goroutines: the load's connections and the
// backends', all in this process and ended before it exits.
//
// May import: nothing of ours; it runs the binary as anyone would.
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
	rounds   int
	duration time.Duration
	only     string
	peers    string
	jsonFile string
	lateen   string
	before   string
	envoy    string
	short    bool
	list     bool
	strict   bool
	profile  string
}

// The short form's rounds: enough to see that every row works, and gross
// changes.
const (
	shortRounds   = 1
	shortDuration = 500 * time.Millisecond
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "how often each proxy is measured")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "length of one measurement")
	flag.StringVar(&o.only, "only", "", "run only the rows whose key or name contains one of these words, separated by commas (see -list)")
	flag.StringVar(&o.peers, "peers", "lateen,envoy,nginx,haproxy,floor", "which proxies to compare")
	flag.StringVar(&o.jsonFile, "json", "", "also write the figures to this file")
	flag.StringVar(&o.lateen, "lateen", "bin/lateen-proxy", "the lateen-proxy binary")
	flag.StringVar(&o.before, "before", "", "another lateen-proxy binary to compare with, measured in turn with the first")
	flag.StringVar(&o.envoy, "envoy", ".cache/bin/envoy", "the Envoy binary")
	flag.BoolVar(&o.short, "short", false, "one short round of everything: shows that it works, not how fast it is")
	flag.BoolVar(&o.list, "list", false, "list the rows with their goals and end")
	flag.BoolVar(&o.strict, "strict", false, "fail if a goal is missed")
	flag.StringVar(&o.profile, "pgo", "", "compare nothing, but write a profile of lateen-proxy under these loads to this file, for go build -pgo")
	be := flag.String(floorFlag, "", "be the floor of the handshakes, with this configuration")
	flag.Parse()
	if *be != "" {
		if err := serveFloor(*be); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
	}
	if o.short {
		o.rounds, o.duration = shortRounds, shortDuration
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	chosen := chooseRows(rows(), o.only)
	if len(chosen) == 0 {
		return fmt.Errorf("no row's key or name contains %q; -list shows them", o.only)
	}
	if o.list {
		return list(out, chosen)
	}
	if o.before != "" {
		chosen = besideBefore(chosen)
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer b.Close()
	if o.profile != "" {
		return b.writeProfile(ctx, chosen, o.profile)
	}
	fmt.Fprintf(out, "%d rounds of %v; load average %s\n", o.rounds, o.duration, loadAverage())
	var results []result
	for _, r := range chosen {
		got, err := b.measure(ctx, r)
		if err != nil {
			return err
		}
		results = append(results, got)
		got.print(out)
	}
	fmt.Fprintf(out, "\nload average %s\n", loadAverage())
	missed := summary(out, results)
	if err := writeJSON(o.jsonFile, results); err != nil {
		return err
	}
	if o.strict && missed > 0 {
		return fmt.Errorf("%d goals are missed", missed)
	}
	return nil
}

func chooseRows(all []row, only string) []row {
	var chosen []row
	for _, r := range all {
		for word := range strings.SplitSeq(only, ",") {
			if strings.Contains(r.key, word) || strings.Contains(r.name, word) {
				chosen = append(chosen, r)
				break
			}
		}
	}
	return chosen
}

func writeJSON(file string, results []result) error {
	if file == "" {
		return nil
	}
	b, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("figures: %w", err)
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("figures: %w", err)
	}
	return nil
}

// loadAverage says how busy the machine was.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}
