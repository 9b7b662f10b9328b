package main

import (
	"context"
	"slices"
	"strings"
)

// row is one comparison.
type row struct {
	key  string // a word for -only
	name string
	unit string // what the figures are per
	// candidates are measured in turn in each round.
	candidates []candidate
	measure    func(ctx context.Context, b *bench, c candidate) (sample, error)
	// shows are the metrics of the table, the first of which is compared with Envoy's.
	shows []metric
	goals []goal
}

// candidate is a proxy doing something.
type candidate struct {
	label string
	peer  string // see peerCommand
	load  func(b *bench, p *peer) (loader, error)
}

// metric is something that is measured of a candidate.
type metric string

const (
	cpuMicros   metric = "CPU µs/unit"
	unitsPerCPU metric = "units/CPU s"
	unitsPerS   metric = "units/s"
	p50Micros   metric = "p50 µs"
	p99Micros   metric = "p99 µs"
	rssMiB      metric = "RSS MiB"
	connKiB     metric = "KiB/connection"
	readyMillis metric = "ready ms"
	startMillis metric = "CPU ms until ready"
	allocations metric = "allocations/unit"
)

// sample is one measurement.
type sample map[metric]float64

// goal is a limit for a figure of the first candidate, or for its ratio to another candidate's.
type goal struct {
	metric  metric
	against string // a label; empty for the figure itself
	limit   float64
	atLeast bool
	// scale multiplies the figure or the ratio before it is compared; 0 is 1.
	scale float64
	note  string
}

func atMost(m metric, against string, limit float64) goal {
	return goal{metric: m, against: against, limit: limit}
}

func atLeast(m metric, against string, limit float64) goal {
	return goal{metric: m, against: against, limit: limit, atLeast: true}
}

// Labels of the candidates.
const (
	lateen  = "lateen"
	envoy   = "envoy"
	nginx   = "nginx"
	haproxy = "haproxy"
	// floor is no proxy: see serveFloor.
	floor = "floor"
	// before is another version of Lateen's proxy (-before).
	before = "before"
)

// besideBefore adds to each row the other version of the proxy, doing what the row's first candidate does.
func besideBefore(list []row) []row {
	for i := range list {
		c := list[i].candidates[0]
		c.label, c.peer = before, strings.Replace(c.peer, lateen, before, 1)
		list[i].candidates = slices.Insert(slices.Clone(list[i].candidates), 1, c)
	}
	return list
}

// through makes candidates that do the same.
func through(load func(*bench, *peer) (loader, error), peers ...string) []candidate {
	var list []candidate
	for _, p := range peers {
		list = append(list, candidate{label: p, peer: p, load: load})
	}
	return list
}

var (
	perRequest = []metric{cpuMicros, unitsPerS, p50Micros, p99Micros, rssMiB}
	perCPU     = []metric{unitsPerCPU, cpuMicros, unitsPerS, rssMiB}
)

// rows are all of them, in the order of the report.
func rows() []row {
	var list []row
	list = append(list, requestRows()...)
	list = append(list, byteRows()...)
	list = append(list, handshakeRows()...)
	return append(list, processRows()...)
}

func requestRows() []row {
	return []row{
		{key: "plain", name: "HTTP/1.1 plain, 64 connections, full speed", unit: "request", measure: measureLoad, shows: perRequest,
			candidates: through(plainRequests(64, 0), lateen, envoy, nginx, haproxy),
			goals:      []goal{atMost(cpuMicros, envoy, 0.36), atMost(cpuMicros, nginx, 1.25), atMost(cpuMicros, haproxy, 1.25)}},
		{key: "paced", name: "HTTP/1.1 plain, 16 connections, 1000 requests/s", unit: "request", measure: measureLoad, shows: perRequest,
			candidates: through(plainRequests(16, 1000), lateen, envoy, nginx, haproxy),
			goals:      []goal{atMost(p99Micros, envoy, 1)}},
		{key: "tls", name: "HTTP/1.1, mTLS from the client, 64 connections, full speed", unit: "request", measure: measureLoad, shows: perRequest,
			candidates: through(encryptedRequests(64, 0), lateen, envoy, nginx, haproxy),
			goals:      []goal{atMost(cpuMicros, envoy, 0.45)}},
		{key: "paced-tls", name: "HTTP/1.1, mTLS from the client, 16 connections, 1000 requests/s", unit: "request", measure: measureLoad, shows: perRequest,
			candidates: through(encryptedRequests(16, 1000), lateen, envoy, nginx, haproxy),
			goals:      []goal{atMost(p99Micros, envoy, 1)}},
		{key: "hop", name: "a whole hop: client sidecar, mTLS, server sidecar; both proxies' CPU", unit: "request", measure: measureLoad, shows: perRequest,
			candidates: []candidate{{label: lateen, peer: "lateen-client", load: plainRequests(64, 0)}, {label: envoy, peer: "envoy-client", load: plainRequests(64, 0)}},
			goals:      []goal{atMost(cpuMicros, envoy, 0.45)}},
		{key: "grpc", name: "HTTP/2 cleartext, unary gRPC calls, 8 connections of 32 streams", unit: "call", measure: measureLoad, shows: perRequest,
			candidates: through(unaryCalls(8), lateen, envoy), goals: []goal{atMost(cpuMicros, envoy, 0.30)}},
		{key: "allocations", name: "allocations per HTTP/1.1 request", unit: "request", measure: measureAllocations, shows: []metric{allocations, unitsPerS},
			candidates: through(plainRequests(16, 0), lateen), goals: []goal{atMost(allocations, "", 0.05)}},
		{key: "allocations-h2", name: "allocations per unary gRPC call over HTTP/2", unit: "call", measure: measureAllocations, shows: []metric{allocations, unitsPerS},
			candidates: through(unaryCalls(8), lateen), goals: []goal{atMost(allocations, "", 2)}},
		{key: "cores", name: "HTTP/1.1 plain, one thread and two", unit: "request", measure: measureLoad, shows: perCPU,
			candidates: []candidate{{label: "lateen, 2 threads", peer: "lateen-2", load: plainRequests(64, 0)}, {label: lateen, peer: lateen, load: plainRequests(64, 0)},
				{label: "envoy, 2 threads", peer: "envoy-2", load: plainRequests(64, 0)}, {label: envoy, peer: envoy, load: plainRequests(64, 0)}},
			// The load shares the cores, so what two cores could do is what the CPU time per request allows.
			goals: []goal{{metric: unitsPerCPU, against: lateen, limit: 1.8, atLeast: true, scale: 2, note: "two cores' throughput, from CPU per request"}}},
	}
}

func byteRows() []row {
	return []row{
		{key: "streaming", name: "gRPC server streaming, messages of 16 KiB, 4 connections of 2 streams", unit: "MiB", measure: measureLoad, shows: perCPU,
			candidates: through(streamedBytes(4), lateen, envoy), goals: []goal{atLeast(unitsPerCPU, envoy, 2)}},
		{key: "tcp", name: "TCP, 1 GiB over one connection", unit: "MiB", measure: measureLoad, shows: []metric{cpuMicros, unitsPerS, rssMiB},
			candidates: through(tcpBytes(1<<30), lateen, envoy, haproxy), goals: []goal{atMost(cpuMicros, envoy, 0.65)}},
	}
}

func handshakeRows() []row {
	const name = "mTLS handshakes with a request each, 8 at a time, "
	full := func(strangers bool, curve curve) func(*bench, *peer) (loader, error) {
		return handshakes(handshakeKind{strangers: strangers, curve: curve})
	}
	resumed := func(curve curve) func(*bench, *peer) (loader, error) {
		return handshakes(handshakeKind{resume: true, curve: curve})
	}
	return []row{
		{key: "handshakes", name: name + "clients never seen before", unit: "handshake", measure: measureLoad, shows: perCPU,
			candidates: through(full(true, hybrid), lateen, envoy, nginx), goals: []goal{atLeast(unitsPerCPU, envoy, 0.9)}},
		{key: "known", name: name + "a chain that was verified before", unit: "handshake", measure: measureLoad, shows: perCPU,
			candidates: through(full(false, hybrid), lateen, envoy, nginx, haproxy), goals: []goal{atLeast(unitsPerCPU, envoy, 1)}},
		{key: "known-x25519", name: name + "a chain that was verified before, X25519 without ML-KEM", unit: "handshake", measure: measureLoad, shows: perCPU,
			candidates: through(full(false, classic), lateen, envoy), goals: []goal{atLeast(unitsPerCPU, envoy, 1)}},
		{key: "resumed", name: name + "resumed sessions", unit: "handshake", measure: measureLoad, shows: perCPU,
			candidates: []candidate{{label: lateen, peer: lateen, load: resumed(hybrid)}, {label: envoy, peer: envoy, load: resumed(hybrid)},
				{label: "envoy, full handshakes", peer: envoy, load: full(false, hybrid)},
				{label: "crypto/tls without a proxy", peer: floor, load: resumed(hybrid)}},
			goals: []goal{atLeast(unitsPerCPU, "envoy, full handshakes", 2), atLeast(unitsPerCPU, envoy, 1)}},
		{key: "resumed-x25519", name: name + "resumed sessions, X25519 without ML-KEM", unit: "handshake", measure: measureLoad, shows: perCPU,
			candidates: []candidate{{label: lateen, peer: lateen, load: resumed(classic)}, {label: envoy, peer: envoy, load: resumed(classic)},
				{label: "envoy, full handshakes", peer: envoy, load: full(false, classic)},
				{label: "crypto/tls without a proxy", peer: floor, load: resumed(classic)}},
			goals: []goal{atLeast(unitsPerCPU, envoy, 1)}},
	}
}

func processRows() []row {
	pair := through(nil, lateen, envoy)
	return []row{
		{key: "idle", name: "memory of an idle connection", unit: "connection", measure: measureIdle(false), shows: []metric{connKiB, rssMiB},
			candidates: pair, goals: []goal{atMost(connKiB, envoy, 0.6)}},
		{key: "idle-tls", name: "memory of an idle mTLS connection", unit: "connection", measure: measureIdle(true), shows: []metric{connKiB, rssMiB},
			candidates: pair},
		{key: "start", name: "start and rest with 100 services", unit: "start", measure: measureStart, shows: []metric{readyMillis, startMillis, rssMiB},
			candidates: pair, goals: []goal{atMost(readyMillis, "", 100), atMost(startMillis, "", 100), atMost(rssMiB, envoy, 0.4)}},
	}
}
