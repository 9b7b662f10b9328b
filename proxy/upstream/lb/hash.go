package lb

import (
	"math"
	"slices"
	"sort"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// ring is a consistent hash ring: each host stands at several points in proportion to its weight, and a request goes
// to the first point at or after its hash.
type ring struct {
	points []point
}

type point struct {
	hash uint64
	host int
}

func newRing(cfg Config, hosts []Host, group []int) picker {
	total, least := 0.0, math.Inf(1)
	for _, i := range group {
		w := float64(weightOf(hosts[i]))
		total += w
		least = min(least, w)
	}
	least /= total
	// As in Envoy: large enough that the lightest host has a whole number of points, within the bounds.
	scale := min(math.Ceil(least*float64(cfg.MinRingSize))/least, float64(cfg.MaxRingSize))
	r := &ring{points: make([]point, 0, int(math.Ceil(scale)))}
	current, target := 0.0, 0.0
	var key []byte
	for _, i := range group {
		target += scale * float64(weightOf(hosts[i])) / total
		for k := 0; current < target; k++ {
			key = append(append(key[:0], hosts[i].HashKey...), '_')
			key = strconv.AppendInt(key, int64(k), 10)
			r.points = append(r.points, point{xxhash.Sum64(key), i})
			current++
		}
	}
	slices.SortFunc(r.points, func(a, b point) int {
		switch {
		case a.hash < b.hash:
			return -1
		case a.hash > b.hash:
			return 1
		}
		return a.host - b.host
	})
	return r
}

func (r *ring) pick(q *Request) int {
	h := q.hash()
	k := sort.Search(len(r.points), func(i int) bool { return r.points[i].hash >= h })
	if k == len(r.points) {
		k = 0
	}
	return r.points[k].host
}

// hash is the request's own, or random bits when no hash policy gave one.
func (r *Request) hash() uint64 {
	if r.HasHash {
		return r.Hash
	}
	return r.Rand
}

// maglev is a lookup table filled by the hosts' own permutations (Maglev, NSDI 2016), weighted.
type maglev struct {
	table []int32
}

type maglevEntry struct {
	host         int
	offset, skip uint64
	weight       float64
	target       float64
	next         uint64
}

func newMaglev(cfg Config, hosts []Host, group []int) picker {
	size := cfg.TableSize
	entries := make([]maglevEntry, 0, len(group))
	heaviest := 0.0
	for _, i := range group {
		key := hosts[i].HashKey
		w := float64(weightOf(hosts[i]))
		heaviest = max(heaviest, w)
		entries = append(entries, maglevEntry{
			host: i, weight: w, offset: xxhash.Sum64String(key) % size, skip: xxhash.Sum64String(key+"\x01")%(size-1) + 1,
		})
	}
	m := &maglev{table: make([]int32, size)}
	for i := range m.table {
		m.table[i] = -1
	}
	m.fill(entries, heaviest, size)
	return m
}

func (m *maglev) fill(entries []maglevEntry, heaviest float64, size uint64) {
	filled := uint64(0)
	for turn := 1.0; filled < size; turn++ {
		for k := range entries {
			if filled == size {
				return
			}
			e := &entries[k]
			if turn*e.weight < e.target {
				continue
			}
			e.target += heaviest
			slot := (e.offset + e.skip*e.next) % size
			for m.table[slot] >= 0 {
				e.next++
				slot = (e.offset + e.skip*e.next) % size
			}
			m.table[slot] = int32(e.host)
			e.next++
			filled++
		}
	}
}

func (m *maglev) pick(q *Request) int { return int(m.table[q.hash()%uint64(len(m.table))]) }
