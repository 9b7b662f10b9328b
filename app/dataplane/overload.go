package dataplane

import (
	"math"
	"os"
	"runtime/debug"

	"lateen.dev/lateen/proxy/bootstrap"
	"lateen.dev/lateen/proxy/overload"
)

// memoryShare is the part of a memory limit, in percent, that garbage may fill: from there on the garbage collector works
// harder, so that what the overload manager sees above is in use.
const memoryShare = 85

// watchOverload makes the overload manager: that of a bootstrap, or else one that knows the control group's memory. It
// is to be run by the caller.
func (p *Proxy) watchOverload(o *bootstrap.Overload) error {
	limit := overload.MemoryLimit()
	c := overload.Default(limit)
	if o != nil && o.Configured {
		c = o.Config
		if o.HeapLimit > 0 && (limit == 0 || o.HeapLimit < limit) {
			limit = o.HeapLimit
		}
	}
	system := &overload.System{Connections: func() int64 { return p.engine.Connections() }}
	m, err := overload.New(c.WithDescriptors(), system.Read, p.log)
	if err != nil {
		return err
	}
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set && limit > 0 && limit < math.MaxInt64/100 {
		debug.SetMemoryLimit(int64(limit) / 100 * memoryShare)
	}
	m.Relieve(overload.Relief{
		Reconsider:   func() { p.engine.Reconsider() },
		ResetStreams: func(bytes int64, most int) int { return p.engine.ResetStreams(bytes, most) },
	})
	p.overload = m
	return nil
}

// stats calls f with every statistic of the engine and the overload manager.
func (p *Proxy) stats(f func(name string, value int64)) {
	p.engine.Stats(f)
	p.overload.Stats(f)
	p.store.ExtensionStats(f)
	if p.discovery == nil {
		return
	}
	if since, configured := p.discovery.Connected(); configured {
		connected := int64(0)
		if !since.IsZero() {
			connected = 1
		}
		f("control_plane.connected_state", connected)
	}
}
