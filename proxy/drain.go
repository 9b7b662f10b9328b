package proxy

import (
	"context"
	"time"

	"lateen.dev/lateen/lib/backoff"
	"lateen.dev/lateen/proxy/listen"
)

// DrainOptions say what DrainListeners does, as the query of Envoy's /drain_listeners does.
type DrainOptions struct {
	// InboundOnly leaves out listeners that are not inbound.
	InboundOnly bool
	// Graceful lets listeners accept until the drain time has passed; SkipExit lets them accept after that, too.
	Graceful, SkipExit bool
}

// DrainListeners asks connections to end, and stops accepting: at once, or after the drain time. A graceful drain that
// is under way already is left as it is.
func (p *Proxy) DrainListeners(o DrainOptions) {
	p.listeners.Drain(o.InboundOnly)
	if !o.Graceful {
		p.listeners.Stop(o.InboundOnly)
		return
	}
	which := 1
	if o.InboundOnly {
		which = 0
	}
	if p.drained[which].Swap(true) || o.SkipExit {
		return
	}
	p.sequences.Go(func() {
		if backoff.Sleep(p.ctx, p.listeners.DrainTime()) == nil {
			p.listeners.Stop(o.InboundOnly)
		}
	})
}

// FailHealthCheck asks connections to end while new ones are still accepted, so that those who watch the proxy's
// health take it out of service; PassHealthCheck takes that back.
func (p *Proxy) FailHealthCheck() { p.listeners.Drain(false) }

// PassHealthCheck takes FailHealthCheck back.
func (p *Proxy) PassHealthCheck() { p.listeners.Undrain() }

// Draining tells whether connections are being asked to end.
func (p *Proxy) Draining() bool { return p.listeners.Draining() }

// pollInterval is how often Drain looks whether connections are left.
const pollInterval = 20 * time.Millisecond

// Drain asks connections to end and goes on accepting, until there has been none for the time of quiet, or the time
// limit has passed. Call Shutdown then: it refuses new connections, and waits for those that are left.
func (p *Proxy) Drain(ctx context.Context, quiet, limit time.Duration) {
	p.listeners.Drain(false)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	since, seen := time.Now(), p.listeners.Accepted()
	for {
		if n := p.listeners.Accepted(); n != seen || p.Connections() > 0 {
			since, seen = time.Now(), n
		} else if time.Since(since) >= quiet {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// DrainTime is how long a graceful drain takes.
func (p *Proxy) DrainTime() time.Duration { return p.listeners.DrainTime() }

// Begin lets listeners accept that Options.Hold kept from it.
func (p *Proxy) Begin() { p.listeners.Begin() }

// Sockets are the listening sockets that another process may go on with.
func (p *Proxy) Sockets() []listen.Keyed { return p.listeners.Sockets() }

// Release stops accepting, without ending the sockets that Sockets returned: another process has them, too.
func (p *Proxy) Release() { p.listeners.Release() }
