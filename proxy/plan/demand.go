package plan

import (
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

// Demand asks the control plane for what is not in the plan. It is proxy/state's; any goroutine may ask.
type Demand struct {
	// None holds the virtual hosts, as TABLE/HOST, and the listeners that are known not to exist.
	None atomic.Pointer[map[string]struct{}]
	// Ask asks for resources of a kind by name. The channel that it returns is closed when all are in the plan in force, or
	// are known not to exist; it is nil when that is so already, or when so many wait that nobody else may. It doesn't block.
	Ask func(kind Kind, names ...string) <-chan struct{}
}

// DemandTime is how long a request or a connection is held at most for what was asked for. Then it goes where it would
// go if that didn't exist.
const DemandTime = 2 * time.Second

// maxTable is the longest name of a table for which None is looked through without allocating.
const maxTable = 128

// none tells whether a name is known not to exist.
func (d *Demand) none(name []byte) bool {
	m := d.None.Load()
	if m == nil {
		return false
	}
	_, ok := (*m)[string(name)]
	return ok
}

// Missing asks for the virtual host of an authority for which the table has nothing of its own: found is what Find
// returned. It returns nil when there is nothing to wait for.
func (rc *RouteConfig) Missing(found *VirtualHost, authority []byte) <-chan struct{} {
	if rc == nil || rc.Demand == nil || found != nil && found != rc.Hosts.any {
		return nil
	}
	if rc.IgnorePort {
		authority = WithoutPort(authority)
	}
	if len(authority) == 0 || len(authority) > maxHost {
		return nil
	}
	var buf [maxTable + 1 + maxHost]byte
	name := append(append(buf[:0], rc.Name...), '/')
	for _, c := range authority {
		switch {
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c <= ' ' || c >= 0x7f || c == '/' || c == '*':
			return nil // no host has such a name
		}
		name = append(name, c)
	}
	if rc.Demand.none(name) {
		return nil
	}
	return rc.Demand.Ask(KindVirtualHost, string(name))
}

// Missing asks for the listeners of a destination: its own and, where the plan has none for the port, the port's. It
// returns nil when there is nothing to wait for.
func (l *Listener) Missing(dst netip.AddrPort, port bool) <-chan struct{} {
	if l.Demand == nil || !dst.IsValid() {
		return nil
	}
	var buf [maxTable]byte
	suffix := strconv.AppendUint(append(buf[:0], '_'), uint64(dst.Port()), 10)
	var names []string
	ask := func(address string) {
		if name := address + string(suffix); !l.Demand.none([]byte(name)) {
			names = append(names, name)
		}
	}
	ask(dst.Addr().String())
	if !port {
		wildcard := "0.0.0.0"
		if len(l.Addresses) > 0 && l.Addresses[0].IP.Addr().Is6() {
			wildcard = "::"
		}
		ask(wildcard)
	}
	if len(names) == 0 {
		return nil
	}
	return l.Demand.Ask(KindListener, names...)
}
