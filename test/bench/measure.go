package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// bench is a run: the backends, the certificates and the proxies that were
// needed so far.
type bench struct {
	o        options
	dir      *workDir
	backends *backends
	peers    map[string]*peer
}

func newBench(o options) (*bench, error) {
	dir, err := newWorkDir()
	if err != nil {
		return nil, err
	}
	b := &bench{o: o, dir: dir, peers: map[string]*peer{}}
	if b.backends, err = startBackends(); err != nil {
		dir.Close()
		return nil, err
	}
	return b, nil
}

// Close stops the proxies and the backends.
func (b *bench) Close() {
	for _, p := range b.peers {
		p.stop()
	}
	b.backends.Close()
	b.dir.Close()
}

// peer returns a running proxy, which it starts when it is needed first.
func (b *bench) peer(ctx context.Context, name string) (*peer, error) {
	if p := b.peers[name]; p != nil {
		return p, nil
	}
	p, err := b.start(ctx, name, small)
	if err != nil {
		return nil, err
	}
	b.peers[name] = p
	return p, nil
}

// wanted says whether the candidate's proxy was asked for.
func (b *bench) wanted(c candidate) bool {
	product, _, _ := strings.Cut(c.peer, "-")
	return product == before || slices.Contains(strings.Split(b.o.peers, ","), product)
}

// measure measures all candidates of a row, round after round.
func (b *bench) measure(ctx context.Context, r row) (result, error) {
	samples := map[string][]sample{}
	for range b.o.rounds {
		for _, c := range r.candidates {
			if !b.wanted(c) {
				continue
			}
			s, err := r.measure(ctx, b, c)
			if err != nil {
				return result{}, fmt.Errorf("%s: %s: %w", r.name, c.label, err)
			}
			samples[c.label] = append(samples[c.label], s)
		}
	}
	return newResult(r, samples), nil
}

// loader is a load that is ready to run.
type loader interface {
	// run calls warm right before the measurement begins.
	run(ctx context.Context, warm func()) (*loadResult, error)
}

// loaded is a candidate's peer, running, and the load for it.
func (b *bench) loaded(ctx context.Context, c candidate) (*peer, loader, error) {
	p, err := b.peer(ctx, c.peer)
	if err != nil {
		return nil, nil, err
	}
	l, err := c.load(b, p)
	return p, l, err
}

// measureLoad is the CPU time of a running proxy per unit of work.
func measureLoad(ctx context.Context, b *bench, c candidate) (sample, error) {
	p, l, err := b.loaded(ctx, c)
	if err != nil {
		return nil, err
	}
	var before, after usage
	var measureErr error
	got, err := l.run(ctx, func() { before, measureErr = p.usage() })
	if err == nil {
		err = measureErr
	}
	if err == nil {
		after, err = p.usage()
	}
	if err != nil {
		return nil, err
	}
	n := float64(got.requests)
	// A proxy's CPU time is known in ticks of 10 ms; a round of any length has many.
	cpu := float64((after.cpu - before.cpu).Microseconds())
	return sample{
		cpuMicros:   cpu / n,
		unitsPerCPU: n * 1e6 / max(cpu, 1),
		unitsPerS:   n / got.elapsed.Seconds(),
		p50Micros:   float64(got.quantile(0.50).Microseconds()),
		p99Micros:   float64(got.quantile(0.99).Microseconds()),
		rssMiB:      float64(after.rss) / (1 << 20),
	}, nil
}

// measureAllocations is how many objects the proxy makes per unit of work.
func measureAllocations(ctx context.Context, b *bench, c candidate) (sample, error) {
	p, l, err := b.loaded(ctx, c)
	if err != nil {
		return nil, err
	}
	var before, after float64
	var measureErr error
	got, err := l.run(ctx, func() { before, measureErr = p.allocations(ctx) })
	if err == nil {
		err = measureErr
	}
	if err == nil {
		after, err = p.allocations(ctx)
	}
	if err != nil {
		return nil, err
	}
	n := float64(got.requests)
	return sample{allocations: (after - before) / n, unitsPerS: n / got.elapsed.Seconds()}, nil
}
