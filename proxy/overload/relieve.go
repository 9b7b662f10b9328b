package overload

import (
	"math"
	"time"
)

// Timer is a kind of timeout that ReduceTimeouts may make shorter.
type Timer uint8

// The timers, by Envoy's names.
const (
	ConnectionIdle   Timer = iota // HTTP_DOWNSTREAM_CONNECTION_IDLE
	StreamIdle                    // HTTP_DOWNSTREAM_STREAM_IDLE
	TransportConnect              // TRANSPORT_SOCKET_CONNECT
	ConnectionMax                 // HTTP_DOWNSTREAM_CONNECTION_MAX
	StreamFlush                   // HTTP_DOWNSTREAM_STREAM_FLUSH
	timers
)

// Reduction says how short a timeout may become: Least, or, if Share is set, that share of what it is otherwise.
type Reduction struct {
	Least time.Duration
	Share float64
}

// Reduced is how long a timeout of d is now: all of it without pressure, as little as it may become when the action is set
// off wholly, and in between in proportion. 0, which is no limit, remains so.
func (s *State) Reduced(t Timer, d time.Duration) time.Duration {
	if s == nil || d <= 0 {
		return d
	}
	scale := s.reduced.Load()
	if scale == 0 {
		return d
	}
	r, ok := s.reductions[t].get(d)
	if !ok || r >= d {
		return d
	}
	// 0 would be no limit.
	return max(r+time.Duration(float64(d-r)*(1-float64(scale)/millionths)), time.Millisecond)
}

// reduction is a Reduction that may not be there.
type reduction struct {
	Reduction
	set bool
}

func (r *reduction) get(d time.Duration) (time.Duration, bool) {
	if r.Share > 0 {
		return time.Duration(r.Share * float64(d)), r.set
	}
	return r.Least, r.set
}

// Relief is what the manager has those do who hold memory and connections. The functions must not block.
type Relief struct {
	// Reconsider has connections look at their timeouts again, because they have become shorter.
	Reconsider func()
	// ResetStreams resets streams of which each holds so many bytes or more, most of them at most, and returns how many it were.
	ResetStreams func(bytes int64, most int) int
}

// Envoy's numbers of ResetHeavyStreams: eight classes of streams, each of those that hold twice as much as the one before.
const (
	heavyClasses = 8
	mostResets   = 50
	// DefaultHeavyPower is the power of two from which streams are looked at, where the configuration doesn't say: 1 MiB.
	DefaultHeavyPower = 20
)

// heavyFrom is how many bytes the smallest stream holds that is reset at a scale above 0: at first only the largest class.
func heavyFrom(scale float64, power uint32) int64 {
	classes := min(int(math.Floor(scale*heavyClasses))+1, heavyClasses)
	return 1 << (int(power) + heavyClasses - classes)
}

// relieve does what the scales of its two actions ask for.
func (m *Manager) relieve(reduce, heavy float64) {
	scale := int64(reduce * millionths)
	if before := m.State.reduced.Swap(scale); scale > before && m.relief.Reconsider != nil {
		m.relief.Reconsider()
	}
	if heavy > 0 && m.relief.ResetStreams != nil {
		if n := m.relief.ResetStreams(heavyFrom(heavy, m.heavyPower), mostResets); n > 0 {
			m.resets.Add(int64(n))
			m.log.Warn("overload: streams that held much memory were reset", "streams", n)
		}
	}
}
