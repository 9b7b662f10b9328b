package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

const plainScenario = "HTTP/1.1 plain, 64 connections, full speed"

// scenario is one kind of load.
type scenario struct {
	name        string
	connections int
	rate        int // requests per second; 0 is as fast as it goes
	mtls        bool
	kind        kind
	// peers that can do it; empty is all.
	peers []string
}

// kind is what a load is made of, and what its figures are per.
type kind string

const (
	requests   kind = "request"   // HTTP/1.1
	streams    kind = "stream"    // HTTP/2 requests, 32 at a time on each connection
	mebibytes  kind = "MiB"       // of a TCP connection
	handshakes kind = "handshake" // full mutual TLS
)

func scenarios() []scenario {
	return []scenario{
		{name: plainScenario, kind: requests, connections: 64},
		{name: "HTTP/1.1 plain, 16 connections, 1000 requests/s", kind: requests, connections: 16, rate: 1000},
		{name: "HTTP/1.1 mTLS, 64 connections, full speed", kind: requests, connections: 64, mtls: true},
		{name: "HTTP/1.1 mTLS, 16 connections, 1000 requests/s", kind: requests, connections: 16, rate: 1000, mtls: true},
		{name: "HTTP/2 cleartext, unary calls with trailers, 8 connections of 32 streams", kind: streams, connections: 8, peers: []string{"lateen", "envoy"}},
		{name: "TCP, one connection, as many bytes as go", kind: mebibytes, connections: 1, peers: []string{"lateen", "envoy", "haproxy"}},
		{name: "full mTLS handshakes, 8 at a time", kind: handshakes, connections: 8, mtls: true},
	}
}

// spread is the median of several measurements with the least and the most.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	v := slices.Sorted(slices.Values(values))
	median := v[len(v)/2]
	if len(v)%2 == 0 {
		median = (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return spread{Median: median, Min: v[0], Max: v[len(v)-1]}
}

// figures are what was measured of one proxy in one scenario.
type figures struct {
	CPUMicros    spread `json:"cpu_us"` // per request, stream, MiB or handshake
	RatioToEnvoy spread `json:"ratio_to_envoy"`
	RequestsPerS spread `json:"per_second"`
	P50Micros    spread `json:"p50_us"`
	P99Micros    spread `json:"p99_us"`
	RSSMiB       spread `json:"rss_mib"`
}

// result is one scenario over all proxies.
type result struct {
	Scenario string             `json:"scenario"`
	Per      kind               `json:"per"`
	Peers    map[string]figures `json:"peers"`
}

// round is one measurement.
type round struct {
	cpuMicros, rps, p50, p99, rss float64
}

func measure(ctx context.Context, o options, s scenario, peers []*peer, certs *certificates) (result, error) {
	rounds := map[string][]round{}
	for range o.rounds {
		for _, p := range peers {
			if len(s.peers) > 0 && !slices.Contains(s.peers, p.name) {
				continue
			}
			m, err := measureOnce(ctx, o.duration, s, p, certs)
			if err != nil {
				return result{}, fmt.Errorf("%s through %s: %w", s.name, p.name, err)
			}
			rounds[p.name] = append(rounds[p.name], m)
		}
	}
	r := result{Scenario: s.name, Per: s.kind, Peers: map[string]figures{}}
	for name, list := range rounds {
		r.Peers[name] = summarise(list, rounds["envoy"])
	}
	return r, nil
}

func measureOnce(ctx context.Context, d time.Duration, s scenario, p *peer, certs *certificates) (round, error) {
	var before, after usage
	var measureErr error
	warm := func() { before, measureErr = p.usage() } // connections stand, the first requests are through
	got, err := loaderOf(s, p, certs, d, warm).run(ctx)
	if err == nil {
		err = measureErr
	}
	if err == nil {
		after, err = p.usage()
	}
	if err != nil {
		return round{}, err
	}
	n := float64(got.requests)
	return round{
		cpuMicros: float64((after.cpu - before.cpu).Microseconds()) / n,
		rps:       n / got.elapsed.Seconds(),
		p50:       float64(got.quantile(0.50).Microseconds()),
		p99:       float64(got.quantile(0.99).Microseconds()),
		rss:       float64(after.rss) / (1 << 20),
	}, nil
}

// loader is a load that is ready to run.
type loader interface {
	run(ctx context.Context) (*loadResult, error)
}

func loaderOf(s scenario, p *peer, certs *certificates, d time.Duration, warm func()) loader {
	config := &tls.Config{Certificates: []tls.Certificate{certs.client}, InsecureSkipVerify: true,
		NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: true}
	switch s.kind {
	case streams:
		return &loadStreams{address: p.h2, connections: s.connections, duration: d, warm: warm}
	case mebibytes:
		return &loadBytes{address: p.tcp, duration: d, warm: warm}
	case handshakes:
		return &loadHandshakes{address: p.mtls, tls: config, parallel: s.connections, duration: d, warm: warm}
	}
	l := &load{address: p.plain, connections: s.connections, rate: s.rate, duration: d, warm: warm}
	if s.mtls {
		l.address, l.tls = p.mtls, config
	}
	return l
}

func summarise(list, envoy []round) figures {
	take := func(f func(round) float64) spread {
		var v []float64
		for _, m := range list {
			v = append(v, f(m))
		}
		return spreadOf(v)
	}
	var ratios []float64
	for i := range min(len(list), len(envoy)) {
		ratios = append(ratios, list[i].cpuMicros/envoy[i].cpuMicros)
	}
	return figures{
		CPUMicros:    take(func(m round) float64 { return m.cpuMicros }),
		RatioToEnvoy: spreadOf(ratios),
		RequestsPerS: take(func(m round) float64 { return m.rps }),
		P50Micros:    take(func(m round) float64 { return m.p50 }),
		P99Micros:    take(func(m round) float64 { return m.p99 }),
		RSSMiB:       take(func(m round) float64 { return m.rss }),
	}
}

// print writes the scenario's table.
func (r result) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s\n", r.Scenario)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\tCPU µs/%s\tof Envoy's\t%[1]ss/s\tp50 µs\tp99 µs\tRSS MiB\n", r.Per)
	cell := func(s spread, format string) string {
		return fmt.Sprintf(strings.ReplaceAll("F [F..F]", "F", format), s.Median, s.Min, s.Max)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Peers)) {
		f := r.Peers[name]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, cell(f.CPUMicros, "%.1f"), cell(f.RatioToEnvoy, "%.2f"),
			cell(f.RequestsPerS, "%.0f"), cell(f.P50Micros, "%.0f"), cell(f.P99Micros, "%.0f"), cell(f.RSSMiB, "%.1f"))
	}
	w.Flush()
}
