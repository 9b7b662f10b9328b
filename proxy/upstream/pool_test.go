package upstream

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"lateen.dev/lateen/proxy/h1"
	"lateen.dev/lateen/proxy/plan"
)

// pipes is a rig with one host to which connections are pipes that somebody reads from.
func pipes(t *testing.T, change func(*plan.Cluster)) (h *Host, c *Cluster, dials *int, stop func()) {
	dials = new(int)
	r, stop := newRig(t, Options{Dial: func(string) Dialer {
		return func(context.Context, string, string) (net.Conn, error) {
			*dials++
			near, far := net.Pipe()
			go func() {
				var b [512]byte
				for {
					if _, err := far.Read(b[:]); err != nil {
						return
					}
				}
			}()
			t.Cleanup(func() { far.Close() })
			return near, nil
		}
	}})
	cfg := &plan.Cluster{Name: "a", Limits: [2]plan.CircuitBreaker{{MaxConnections: 1 << 20, MaxPendingRequests: 9}}, Endpoints: endpoints(host("10.0.0.1:80"))}
	cfg.Protocol.IdleTimeout = time.Hour
	change(cfg)
	r.apply(cfg)
	return Of(cfg).Hosts()[0], Of(cfg), dials, stop
}

func TestMaxConnectionDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c, dials, stop := pipes(t, func(c *plan.Cluster) { c.Protocol.MaxConnectionDuration = 10 * time.Second })
		defer stop()
		exchange := func(takes time.Duration) *h1.Upstream {
			u, err := h.Exchange(t.Context(), &Ask{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(takes)
			h.pool(0, variant{}).Idle(u.(*h1.Upstream))
			return u.(*h1.Upstream)
		}
		first := exchange(time.Second)
		if again := exchange(time.Second); again != first {
			t.Error("a young connection is not used again")
		}
		time.Sleep(8*time.Second + time.Millisecond) // while it idles
		second := exchange(9 * time.Second)
		if second == first || *dials != 2 {
			t.Error("a connection that idled beyond its time is used again")
		}
		exchange(2 * time.Second) // while it is in use
		exchange(time.Second)
		if *dials != 3 || c.Stats.Value(CxMaxDuration) != 2 {
			t.Errorf("%d connections, %d ended by their age", *dials, c.Stats.Value(CxMaxDuration))
		}
	})
}

func TestClientsHaveConnectionsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c, dials, stop := pipes(t, func(c *plan.Cluster) { c.ProxyProtocol = 1 })
		defer stop()
		client := func(n int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)}), 1000)
		}
		to := netip.MustParseAddrPort("10.9.9.9:80")
		exchange := func(n int) *h1.Upstream {
			a := &Ask{ConnectOptions: ConnectOptions{Source: client(n), Destination: to}}
			u, err := h.Exchange(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			h.poolFor(a).Idle(u.(*h1.Upstream))
			return u.(*h1.Upstream)
		}
		first := exchange(1)
		if exchange(2) == first {
			t.Error("a connection that tells of one client is used for another")
		}
		for range 5 {
			if exchange(1) != first {
				t.Fatal("a client's own connection is not used again")
			}
		}
		if *dials != 2 {
			t.Errorf("%d connections for two clients", *dials)
		}
		// There is an end to how many are kept, and to how long.
		for n := range maxClientPools + 50 {
			exchange(n)
		}
		if got := c.Stats.Value(CxActive); got > maxClientPools {
			t.Errorf("%d connections are kept", got)
		}
		time.Sleep(clientIdle + 2*sweepEvery*houseInterval)
		synctest.Wait()
		if got, left := c.Stats.Value(CxActive), len(h.shards[0].clients); got != 0 || left != 0 {
			t.Errorf("%d connections and %d pools are left", got, left)
		}
		if exchange(1) == first {
			t.Error("a connection is used that was closed")
		}
	})
}
