package upstream

import (
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"lateen.dev/lateen/proxy/plan"
)

func host(address string) plan.Endpoint {
	return plan.Endpoint{Address: plan.Address{IP: netip.MustParseAddrPort(address)}}
}

// draws counts which hosts are picked.
func draws(c *Cluster, n int) map[string]int {
	out := map[string]int{}
	for range n {
		if h := c.Pick(&Choice{}); h != nil {
			out[h.Addr().String()]++
		}
	}
	return out
}

func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, stop := newRig(t, Options{})
		defer stop()
		cfg := plan.Cluster{Name: "c", Discovery: plan.Static, SlowStart: &plan.SlowStart{Window: 100 * time.Second, Aggression: 1, MinWeightPercent: 10},
			Endpoints: endpoints(host("10.0.0.1:80"))}
		first := cfg
		r.apply(&first)
		time.Sleep(200 * time.Second)
		second := first
		second.Endpoints = endpoints(host("10.0.0.1:80"), host("10.0.0.2:80"))
		r.apply(&second)
		c := Of(&second)
		ratio := func() float64 {
			d := draws(c, 11_000)
			return float64(d["10.0.0.2:80"]) / float64(d["10.0.0.1:80"])
		}
		for _, step := range []struct {
			after time.Duration
			want  float64
		}{{0, 0.10}, {30 * time.Second, 0.30}, {30 * time.Second, 0.60}, {50 * time.Second, 1}} {
			time.Sleep(step.after)
			synctest.Wait()
			if got := ratio(); math.Abs(got-step.want) > 0.04 {
				t.Errorf("%v later the new host has %.2f of the other's share, not %.2f", step.after, got, step.want)
			}
		}
		// The cluster is made anew with other settings: what was warm stays warm.
		third := second
		third.Version, third.Runtime = 7, nil
		r.apply(&third)
		if c = Of(&third); math.Abs(ratio()-1) > 0.04 {
			t.Errorf("after a change of settings the share is %.2f", ratio())
		}
	})
}

func TestShare(t *testing.T) {
	s := &plan.SlowStart{Window: 100 * time.Second, Aggression: 2, MinWeightPercent: 20}
	for there, want := range map[time.Duration]uint32{0: 20, 25 * time.Second: 50, 81 * time.Second: 90, 100 * time.Second: 100} {
		if got := share(s, there); got != want {
			t.Errorf("%v: %d, not %d", there, got, want)
		}
	}
}

// answering is a network in which some addresses answer.
type answering struct {
	mu   sync.Mutex
	good map[string]bool
}

func (a *answering) set(address string, good bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.good[address] = good
}

func TestActiveHealthChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answering{good: map[string]bool{"10.0.0.1:80": true, "10.0.0.2:80": true}}
		r, stop := newRig(t, Options{Dial: func(string) Dialer {
			return func(_ context.Context, _, address string) (net.Conn, error) {
				a.mu.Lock()
				defer a.mu.Unlock()
				if !a.good[address] {
					return nil, errors.New("nobody is there")
				}
				here, there := net.Pipe()
				there.Close()
				return here, nil
			}
		}})
		defer stop()
		cfg := plan.Cluster{Name: "c", Discovery: plan.Static, Endpoints: endpoints(host("10.0.0.1:80"), host("10.0.0.2:80")),
			HealthChecks: []plan.HealthCheck{{Kind: plan.CheckTCP, Timeout: time.Second, Interval: time.Second, UnhealthyInterval: time.Second,
				NoTrafficInterval: 5 * time.Second, HealthyThreshold: 2, UnhealthyThreshold: 2}}}
		cfg.LB.PanicPercent = 1
		r.apply(&cfg)
		c := Of(&cfg)
		synctest.Wait()
		if d := draws(c, 100); len(d) != 2 {
			t.Errorf("with all well: %v", d)
		}
		a.set("10.0.0.2:80", false)
		time.Sleep(6 * time.Second) // one failure is not enough
		if d := draws(c, 100); len(d) != 2 {
			t.Errorf("after one failure: %v", d)
		}
		time.Sleep(5 * time.Second)
		if d := draws(c, 100); d["10.0.0.1:80"] != 100 {
			t.Errorf("after two failures: %v", d)
		}
		// A host that comes later is used when a check has passed.
		more := cfg
		more.Endpoints = endpoints(host("10.0.0.1:80"), host("10.0.0.2:80"), host("10.0.0.3:80"))
		r.apply(&more)
		synctest.Wait()
		if d := draws(c, 100); d["10.0.0.1:80"] != 100 {
			t.Errorf("with one that is not there: %v", d)
		}
		a.set("10.0.0.3:80", true)
		a.set("10.0.0.2:80", true)
		time.Sleep(12 * time.Second)
		if d := draws(c, 300); len(d) != 3 {
			t.Errorf("with all well again: %v", d)
		}
		if c.Stats.Value(HealthFailure) == 0 || c.Stats.Value(HealthAttempt) != c.Stats.Value(HealthSuccess)+c.Stats.Value(HealthFailure) {
			t.Errorf("%d attempts, %d successes, %d failures", c.Stats.Value(HealthAttempt), c.Stats.Value(HealthSuccess), c.Stats.Value(HealthFailure))
		}
		// They end with their hosts.
		less := cfg
		less.Endpoints = endpoints()
		r.apply(&less)
		synctest.Wait()
		before := c.Stats.Value(HealthAttempt)
		time.Sleep(time.Minute)
		if got := c.Stats.Value(HealthAttempt); got != before {
			t.Errorf("%d checks of hosts that are gone", got-before)
		}
	})
}
