// Package lb chooses one host of a cluster for a request: priorities, panic, locality weights, and the policies
// round robin, least request, random, ring hash and maglev.
//
// A Balancer is built by upstream whenever hosts or their health change, and then read by every connection: it is
// immutable apart from its round robin positions, takes no lock and never allocates in Pick. All randomness comes in
// with the Request, so a table test decides what is chosen.
//
// May import: nothing of ours.
package lb

import (
	"math/bits"
	"sync/atomic"
)

// Kind is a load balancing policy, by Envoy's name for it.
type Kind uint8

// The policies. The zero value is Envoy's default.
const (
	RoundRobin Kind = iota
	LeastRequest
	Random
	RingHash
	Maglev
)

// Host is one endpoint as balancers see it.
type Host struct {
	Weight  uint32        // at least 1; 0 is read as 1
	HashKey string        // what ring hash and maglev place on their tables: the address, unless metadata says otherwise
	Active  *atomic.Int64 // requests in flight, read by LeastRequest
	Healthy bool
}

// Locality is a group of hosts that shares a weight. Hosts are indices into the list given to New.
type Locality struct {
	Weight uint32
	Hosts  []int
}

// Priority is one failover level.
type Priority struct{ Localities []Locality }

// Config is what a cluster's load balancing settings come to.
type Config struct {
	Kind             Kind
	ChoiceCount      int     // LeastRequest: hosts compared; at least 2
	PanicPercent     float64 // below this share of healthy hosts, health is ignored; 0 switches panic off
	Overprovisioning float64 // 1.4 by default
	LocalityWeighted bool    // choose the locality by weight before the host
	MinRingSize      uint64  // RingHash; 1024 by default
	MaxRingSize      uint64  // RingHash; 8 Mi by default
	TableSize        uint64  // Maglev; a prime, 65537 by default
	FailOnPanic      bool    // fail traffic instead of ignoring health
	Shards           int     // independent round robin positions
	Seed             uint64  // where round robin begins, so that new balancers don't all begin at the first host
}

// Request is what one choice depends on. Rand must be fresh random bits for every Pick.
type Request struct {
	Rand    uint64
	Hash    uint64
	HasHash bool
	Shard   int
}

// Balancer answers Pick over one immutable view of the hosts.
type Balancer struct {
	loads  []int // percent of traffic per priority; sums to 100, or all zero when there is no host
	levels []level
}

type level struct {
	cumulative []uint64 // of effective locality weights; empty when there is one group
	groups     []picker
	panicking  bool
}

// picker chooses in one flat, non-empty group of hosts.
type picker interface {
	pick(r *Request) int
}

// New compiles hosts in their priorities into a Balancer.
func New(cfg Config, hosts []Host, priorities []Priority) *Balancer {
	cfg = cfg.withDefaults()
	b := &Balancer{levels: make([]level, len(priorities))}
	healthy, total := count(hosts, priorities)
	loads, panicking := Loads(healthy, total, cfg.Overprovisioning, cfg.PanicPercent)
	b.loads = loads
	for i, p := range priorities {
		b.levels[i] = buildLevel(cfg, hosts, p, panicking[i])
		if cfg.FailOnPanic && panicking[i] {
			b.levels[i].groups = nil
		}
	}
	return b
}

func (c Config) withDefaults() Config {
	if c.ChoiceCount < 2 {
		c.ChoiceCount = 2
	}
	if c.Overprovisioning <= 0 {
		c.Overprovisioning = 1.4
	}
	if c.MinRingSize == 0 {
		c.MinRingSize = 1024
	}
	if c.MaxRingSize == 0 {
		c.MaxRingSize = 8 << 20
	}
	if c.TableSize == 0 {
		c.TableSize = 65537
	}
	if c.Shards < 1 {
		c.Shards = 1
	}
	return c
}

func count(hosts []Host, priorities []Priority) (healthy, total []int) {
	healthy, total = make([]int, len(priorities)), make([]int, len(priorities))
	for i, p := range priorities {
		for _, l := range p.Localities {
			total[i] += len(l.Hosts)
			for _, h := range l.Hosts {
				if hosts[h].Healthy {
					healthy[i]++
				}
			}
		}
	}
	return healthy, total
}

// Pick returns the index of the chosen host, or -1 when there is none to choose.
func (b *Balancer) Pick(r *Request) int {
	if len(b.levels) == 0 {
		return -1
	}
	at := 0
	if len(b.levels) > 1 {
		hi, rest := bits.Mul64(r.Rand, 100)
		r.Rand = rest | 1 // the low half is as random; reuse it below
		left := int(hi)
		for at < len(b.loads)-1 && left >= b.loads[at] {
			left -= b.loads[at]
			at++
		}
	}
	l := &b.levels[at]
	switch len(l.groups) {
	case 0:
		return -1
	case 1:
		return l.groups[0].pick(r)
	}
	hi, rest := bits.Mul64(r.Rand, l.cumulative[len(l.cumulative)-1])
	r.Rand = rest
	g := 0
	for hi >= l.cumulative[g] {
		g++
	}
	return l.groups[g].pick(r)
}

// Panicking tells whether the priority ignores health at the moment.
func (b *Balancer) Panicking(priority int) bool {
	return priority < len(b.levels) && b.levels[priority].panicking
}

func buildLevel(cfg Config, hosts []Host, p Priority, panicking bool) level {
	lv := level{panicking: panicking}
	if !cfg.LocalityWeighted {
		var all []int
		for _, l := range p.Localities {
			all = append(all, l.Hosts...)
		}
		if usable := usableHosts(hosts, all, panicking); len(usable) > 0 {
			lv.groups = []picker{newPicker(cfg, hosts, usable)}
		}
		return lv
	}
	sum := uint64(0)
	for _, l := range p.Localities {
		usable := usableHosts(hosts, l.Hosts, panicking)
		w := localityWeight(l, len(usable), cfg.Overprovisioning)
		if len(usable) == 0 || w == 0 {
			continue
		}
		sum += w
		lv.cumulative = append(lv.cumulative, sum)
		lv.groups = append(lv.groups, newPicker(cfg, hosts, usable))
	}
	return lv
}

// localityWeight is Envoy's effective weight: the configured one, scaled down once overprovisioning no longer covers
// the unavailable hosts.
func localityWeight(l Locality, usable int, overprovisioning float64) uint64 {
	if len(l.Hosts) == 0 || l.Weight == 0 {
		return 0
	}
	available := overprovisioning * float64(usable) / float64(len(l.Hosts))
	if available > 1 {
		available = 1
	}
	return uint64(float64(l.Weight) * available * 1000)
}

func usableHosts(hosts []Host, group []int, panicking bool) []int {
	out := make([]int, 0, len(group))
	for _, i := range group {
		if panicking || hosts[i].Healthy {
			out = append(out, i)
		}
	}
	return out
}

func newPicker(cfg Config, hosts []Host, group []int) picker {
	if len(group) == 1 {
		return one(group[0])
	}
	switch cfg.Kind {
	case LeastRequest:
		return newLeastRequest(cfg, hosts, group)
	case Random:
		return newSampler(hosts, group)
	case RingHash:
		return newRing(cfg, hosts, group)
	case Maglev:
		return newMaglev(cfg, hosts, group)
	default:
		return newRoundRobin(cfg, hosts, group)
	}
}

type one int

func (o one) pick(*Request) int { return int(o) }

func weightOf(h Host) uint64 { return max(1, uint64(h.Weight)) }

func equalWeights(hosts []Host, group []int) bool {
	for _, i := range group[1:] {
		if weightOf(hosts[i]) != weightOf(hosts[group[0]]) {
			return false
		}
	}
	return true
}
