package client_test

import (
	"fmt"
	"testing"

	"lateen.dev/lateen/xds"
)

// The name of a route configuration brings all its virtual hosts, as they come
// and go, on both kinds of stream and over a reconnection.
func TestVirtualHosts(t *testing.T) {
	for _, sotw := range []bool{false, true} {
		t.Run(fmt.Sprintf("sotw=%t", sotw), func(t *testing.T) {
			h := newHarness(t)
			h.plane.set(t, "VHDS/80/a=1", "VHDS/80/b=1", "VHDS/81/a=1", "VHDS/800/a=1", "RDS/80=x", "RDS/81=x")
			c, p := h.client(sotw)
			c.Subscribe(xds.VirtualHostType, "80")
			p.expect(t, "VHDS/80/a=1", "VHDS/80/b=1")
			h.plane.set(t, "VHDS/80/a=2", "VHDS/80/c=bad", "VHDS/81/a=1", "RDS/80=x", "RDS/81=x")
			p.expect(t, "VHDS/80/a=2")
			h.stop()
			h.plane.set(t, "VHDS/80/a=2", "VHDS/80/d=1", "VHDS/81/a=1", "RDS/80=x", "RDS/81=x")
			h.start()
			p.expect(t, "VHDS/80/a=2", "VHDS/80/d=1")
			c.Subscribe(xds.VirtualHostType, "81")
			p.expect(t, "VHDS/80/a=2", "VHDS/80/d=1", "VHDS/81/a=1")
			h.plane.set(t, "RDS/80=x", "RDS/81=x", "VHDS/81/a=1")
			p.expect(t, "VHDS/81/a=1")
		})
	}
}
