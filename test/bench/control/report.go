package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// figures are limits or measurements of one scenario; zero means unknown.
type figures struct {
	bytes           float64 // MB
	full, fullCPU   float64 // s
	rss             float64 // MiB
	endpoint, route float64 // ms to the last client
	endpointCPU     float64 // s
	routeCPU        float64 // s
	routeBytes      float64 // kB per client
	ready, churnP99 float64 // s, ms
	churnCores      float64
}

// istiod are the figures of istiod (master of August 2026, configuration over
// MCP) for the same work on the same kind of machine: two cores, shared with
// the load.
func istiod(s scenario) figures {
	switch {
	case s.sotw, s.ours, s.onDemand, s.churn > 0:
		return figures{}
	case s.services == 1000 && s.clients == 1:
		return figures{bytes: 4.23, full: 0.16, fullCPU: 0.18, rss: 205, endpoint: 138, endpointCPU: 0.05, route: 118, routeCPU: 0.02}
	case s.services == 1000 && s.clients == 100:
		return figures{bytes: 4.23, full: 8.9, fullCPU: 11.4, rss: 753, endpoint: 162, endpointCPU: 0.08, route: 783, routeCPU: 1.06, routeBytes: 563}
	case s.services == 1000 && s.clients == 500 && s.scoped:
		return figures{bytes: 0.33, full: 2.3, fullCPU: 3.8, rss: 755, endpoint: 195, endpointCPU: 0.08, route: 431, routeCPU: 0.48}
	case s.services == 1000 && s.clients == 500:
		return figures{bytes: 4.23, full: 34, fullCPU: 53.6, rss: 2855, endpoint: 212, endpointCPU: 0.16, route: 2324, routeCPU: 3.57, routeBytes: 563}
	case s.services == 5000 && s.clients == 1:
		return figures{bytes: 21.3, full: 0.61, fullCPU: 0.72, rss: 561, endpoint: 210, endpointCPU: 0.17, route: 254, routeCPU: 0.17}
	case s.services == 5000 && s.clients == 100:
		return figures{bytes: 21.3, full: 73.6, fullCPU: 63.3, rss: 4455, endpoint: 1012, endpointCPU: 0.23, route: 20900, routeCPU: 10.4}
	case s.services == 10000 && s.clients == 1:
		return figures{bytes: 42.7, full: 1.7, fullCPU: 1.5, rss: 1046, endpoint: 250, endpointCPU: 0.37, route: 667, routeCPU: 0.44}
	}
	return figures{}
}

// goals are what we want to reach.
func goals(s scenario) figures {
	change := figures{endpoint: 30, endpointCPU: 0.04, route: 100, routeCPU: 0.2}
	if s.ours || s.onDemand {
		change.routeBytes = 4
	}
	with := func(f figures) figures {
		f.endpoint, f.endpointCPU, f.route, f.routeCPU, f.routeBytes = change.endpoint, change.endpointCPU, change.route, change.routeCPU, change.routeBytes
		return f
	}
	switch {
	case s.services == 10000 && s.clients == 1000 && (s.scoped || s.onDemand):
		return with(figures{full: 20, rss: 1024, churnP99: 100, churnCores: 0.5, ready: 3})
	case s.services == 10000 && s.clients == 1:
		return with(figures{full: 0.5, rss: 400, ready: 3})
	case s.services == 1000 && s.clients == 500 && s.scoped:
		return with(figures{full: 1, fullCPU: 0.8, rss: 200})
	case s.services == 1000 && s.clients == 500:
		return with(figures{full: 6, fullCPU: 5, rss: 350})
	case s.services == 1000 && s.clients == 1:
		return with(figures{full: 0.06})
	}
	return change
}

func (r *result) figures() figures {
	const mebi = 1 << 20
	f := figures{bytes: float64(r.BytesPerClient) / 1e6, full: r.Full.Seconds(), fullCPU: r.FullCPU.Seconds(), rss: float64(r.PeakRSS) / mebi, ready: r.Ready.Seconds()}
	if r.Churn != nil {
		f.churnP99, f.churnCores = millis(r.Churn.P99), r.Churn.Cores
	}
	return f
}

// print writes the scenario's table and returns how many goals it missed.
func (r *result) print(out io.Writer) (missed int) {
	want, other, got := goals(r.scenario), istiod(r.scenario), r.figures()
	fmt.Fprintf(out, "\n%s\n", r.Name)
	w := tabwriter.NewWriter(out, 2, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  \tLateen\tgoal\tistiod\t")
	row := func(what, unit string, got, goal, istiod float64) {
		mark := ""
		if goal > 0 && got > goal {
			mark = "missed"
			missed++
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", what, show(got, unit), show(goal, unit), show(istiod, unit), mark)
	}
	row("start to serving", "s", got.ready, want.ready, 0)
	row("bytes per client", "MB", got.bytes, want.bytes, other.bytes)
	row("all clients full", "s", got.full, want.full, other.full)
	row("server CPU for it", "s", got.fullCPU, want.fullCPU, other.fullCPU)
	row("peak RSS", "MiB", got.rss, want.rss, other.rss)
	for _, way := range []string{"files", "api"} {
		if c := r.Changes["endpoint "+way]; c != nil {
			row("endpoint → last client, "+way, "ms", millis(c.Latency), want.endpoint, other.endpoint)
			row("  CPU", "s", c.CPU.Seconds(), want.endpointCPU, other.endpointCPU)
			row("  bytes per client", "kB", float64(c.Bytes)/1e3, 0, 0)
		}
		if c := r.Changes["route "+way]; c != nil {
			row("VirtualService → last client, "+way, "ms", millis(c.Latency), want.route, other.route)
			row("  CPU", "s", c.CPU.Seconds(), want.routeCPU, other.routeCPU)
			row("  bytes per client", "kB", float64(c.Bytes)/1e3, want.routeBytes, other.routeBytes)
		}
	}
	if c := r.Churn; c != nil {
		if c.Rate < 0.99*churnRate {
			missed++
		}
		fmt.Fprintf(w, "  endpoint changes a second\t%.1f\t%d\t–\t\n", c.Rate, churnRate)
		row("  change → client, p99", "ms", got.churnP99, want.churnP99, 0)
		row("  p50", "ms", millis(c.P50), 0, 0)
		row("  cores", "", got.churnCores, want.churnCores, 0)
		row("  cores of the clients", "", c.LoadCores, 0, 0)
		fmt.Fprintf(w, "  seen by a client\t%d of %d; the rest were overtaken\n", c.Seen, c.Due)
	}
	w.Flush()
	return missed
}

func show(v float64, unit string) string {
	switch {
	case v == 0:
		return "–"
	case v >= 100:
		return strings.TrimSpace(fmt.Sprintf("%.0f %s", v, unit))
	case v >= 10:
		return strings.TrimSpace(fmt.Sprintf("%.1f %s", v, unit))
	}
	return strings.TrimSpace(fmt.Sprintf("%.3g %s", v, unit))
}

// printCurve shows what one change costs as the mesh grows, for the scenarios
// of one client.
func printCurve(out io.Writer, all []*result) {
	var base *result
	for _, r := range all {
		s := r.scenario
		if s.clients != 1 || s.scoped || s.sotw || s.ours || s.onDemand {
			continue
		}
		if base == nil {
			base = r
			fmt.Fprintln(out, "\nCPU of one change as the mesh grows, and as a ratio to the smallest (goal: 1.5 at most)")
			continue
		}
		for _, change := range []string{"endpoint files", "endpoint api", "route files", "route api"} {
			a, b := base.Changes[change], r.Changes[change]
			if a == nil || b == nil || a.CPU == 0 {
				continue
			}
			fmt.Fprintf(out, "  %-15s %6s services %8s → %8s services %8s  %5.1f×\n", change, thousands(base.scenario.services), a.CPU.Round(10*time.Microsecond),
				thousands(s.services), b.CPU.Round(10*time.Microsecond), float64(b.CPU)/float64(a.CPU))
		}
	}
}
