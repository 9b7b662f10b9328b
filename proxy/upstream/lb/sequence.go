package lb

import (
	"math/bits"
	"sync/atomic"
)

// maxSequence bounds the length of a weighted round robin's precomputed order.
const maxSequence = 4096

// roundRobin walks a fixed order. With weights the order is that of a smooth weighted round robin, computed once.
type roundRobin struct {
	order []int
	next  []position
}

// position is one shard's place in the order, alone on its cache line.
type position struct {
	at atomic.Uint64
	_  [56]byte
}

func newRoundRobin(cfg Config, hosts []Host, group []int) picker {
	rr := &roundRobin{order: group, next: make([]position, cfg.Shards)}
	if !equalWeights(hosts, group) {
		rr.order = smoothOrder(hosts, group)
	}
	for i := range rr.next {
		rr.next[i].at.Store(cfg.Seed%uint64(len(rr.order)) + uint64(i*len(rr.order)/cfg.Shards))
	}
	return rr
}

func (rr *roundRobin) pick(r *Request) int {
	p := &rr.next[uint(r.Shard)%uint(len(rr.next))]
	return rr.order[(p.at.Add(1)-1)%uint64(len(rr.order))]
}

// smoothOrder lists hosts so that each appears as often as its weight says and as evenly spread as can be.
func smoothOrder(hosts []Host, group []int) []int {
	weights := reducedWeights(hosts, group)
	total := int64(0)
	for _, w := range weights {
		total += w
	}
	current := make([]int64, len(group))
	order := make([]int, 0, total)
	for range total {
		best := 0
		for i := range group {
			current[i] += weights[i]
			if current[i] > current[best] {
				best = i
			}
		}
		current[best] -= total
		order = append(order, group[best])
	}
	return order
}

// reducedWeights divides weights by their greatest common divisor, and further, losing precision, until their sum
// fits maxSequence. No weight falls to zero.
func reducedWeights(hosts []Host, group []int) []int64 {
	divisor, sum := uint64(0), uint64(0)
	for _, i := range group {
		divisor = gcd(divisor, weightOf(hosts[i]))
	}
	w := make([]int64, len(group))
	for k, i := range group {
		w[k] = int64(weightOf(hosts[i]) / divisor)
		sum += uint64(w[k])
	}
	if sum <= maxSequence {
		return w
	}
	for k := range w {
		w[k] = max(1, w[k]*maxSequence/int64(sum))
	}
	return w
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// sampler draws hosts at random in proportion to their weights, in constant time (Vose's alias method).
type sampler struct {
	group []int
	keep  []uint32 // chance, of 2^32, that the slot's own host is taken; nil when weights are equal
	alias []int
}

func newSampler(hosts []Host, group []int) *sampler {
	s := &sampler{group: group}
	if equalWeights(hosts, group) {
		return s
	}
	n := len(group)
	s.keep, s.alias = make([]uint32, n), make([]int, n)
	sum := 0.0
	for _, i := range group {
		sum += float64(weightOf(hosts[i]))
	}
	scaled := make([]float64, n)
	var small, large []int
	for k, i := range group {
		scaled[k] = float64(weightOf(hosts[i])) * float64(n) / sum
		if scaled[k] < 1 {
			small = append(small, k)
		} else {
			large = append(large, k)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		a, b := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		s.keep[a], s.alias[a] = uint32(scaled[a]*(1<<32-1)), group[b]
		scaled[b] -= 1 - scaled[a]
		if scaled[b] < 1 {
			large, small = large[:len(large)-1], append(small, b)
		}
	}
	for _, k := range append(small, large...) {
		s.keep[k], s.alias[k] = 1<<32-1, group[k]
	}
	return s
}

func (s *sampler) pick(r *Request) int { return s.draw(r.Rand) }

func (s *sampler) draw(random uint64) int {
	slot, rest := bits.Mul64(random, uint64(len(s.group)))
	if s.keep == nil || uint32(rest>>32) <= s.keep[slot] {
		return s.group[slot]
	}
	return s.alias[slot]
}

// leastRequest compares a few hosts drawn at random and takes the one with the fewest requests per weight.
type leastRequest struct {
	sampler
	hosts   []Host
	choices int
}

func newLeastRequest(cfg Config, hosts []Host, group []int) picker {
	return &leastRequest{sampler: *newSampler(hosts, group), hosts: hosts, choices: cfg.ChoiceCount}
}

func (l *leastRequest) pick(r *Request) int {
	random := r.Rand
	best := l.draw(random)
	for range l.choices - 1 {
		random = splitmix(random)
		other := l.draw(random)
		if l.load(other) < l.load(best) {
			best = other
		}
	}
	return best
}

// load is the number of requests in flight. Weights need no share here: hosts are drawn by weight already.
func (l *leastRequest) load(i int) int64 {
	if a := l.hosts[i].Active; a != nil {
		return a.Load()
	}
	return 0
}

// splitmix derives further random bits from the ones that came with the request.
func splitmix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
