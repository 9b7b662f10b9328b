package telemetry

import (
	"runtime"
	"sync/atomic"
)

// maxShards bounds how often a series is held in memory.
const maxShards = 8

// Shards is how many shards a sharded counter has on this machine: one per
// processor that can run Go code, at most 8. Writers pick a shard once per
// connection, so that cores do not fight over a cache line.
func Shards() int { return min(runtime.GOMAXPROCS(0), maxShards) }

// cell is one shard of a counter, padded to a cache line of its own.
type cell struct {
	n atomic.Int64
	_ [56]byte
}

// Counter is a sharded counter or gauge. The zero value is not usable: see
// NewCounter.
type Counter struct{ cells []cell }

// NewCounter returns a counter at zero.
func NewCounter() *Counter { return &Counter{cells: make([]cell, Shards())} }

// Add adds n on the given shard. Any shard number is allowed.
func (c *Counter) Add(shard uint32, n int64) {
	c.cells[shard%uint32(len(c.cells))].n.Add(n)
}

// Inc adds one on the given shard.
func (c *Counter) Inc(shard uint32) { c.Add(shard, 1) }

// Value is the sum over the shards; it is exact when nobody is writing.
func (c *Counter) Value() int64 {
	var v int64
	for i := range c.cells {
		v += c.cells[i].n.Load()
	}
	return v
}

// Histogram counts observations in fixed buckets. Bounds are upper limits,
// ascending, without +Inf.
type Histogram struct {
	bounds []float64
	shards []histogramShard
}

// histogramShard holds one count per bucket (the last is +Inf), and the sum in
// thousandths of the unit, so that adding stays an integer operation.
type histogramShard struct {
	counts []atomic.Int64
	sum    atomic.Int64
	_      [32]byte
}

const histogramSumScale = 1000

// NewHistogram returns an empty histogram over bounds, which it keeps.
func NewHistogram(bounds []float64) *Histogram {
	h := &Histogram{bounds: bounds, shards: make([]histogramShard, Shards())}
	for i := range h.shards {
		h.shards[i].counts = make([]atomic.Int64, len(bounds)+1)
	}
	return h
}

// Observe counts v on the given shard.
func (h *Histogram) Observe(shard uint32, v float64) {
	s := &h.shards[shard%uint32(len(h.shards))]
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	s.counts[i].Add(1)
	s.sum.Add(int64(v * histogramSumScale))
}

// HistogramValue is a histogram's state: cumulative counts per bound, and the
// count and sum of all observations.
type HistogramValue struct {
	Buckets map[float64]uint64
	Count   uint64
	Sum     float64
}

// Value sums the shards.
func (h *Histogram) Value() HistogramValue {
	v := HistogramValue{Buckets: make(map[float64]uint64, len(h.bounds))}
	for i := range h.shards {
		v.Sum += float64(h.shards[i].sum.Load()) / histogramSumScale
	}
	for b := 0; b <= len(h.bounds); b++ {
		for i := range h.shards {
			v.Count += uint64(h.shards[i].counts[b].Load())
		}
		if b < len(h.bounds) {
			v.Buckets[h.bounds[b]] = v.Count
		}
	}
	return v
}
