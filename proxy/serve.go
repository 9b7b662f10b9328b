package proxy

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/proxy/hcm"
	"lateen.dev/lateen/proxy/listen"
	"lateen.dev/lateen/proxy/plan"
	"lateen.dev/lateen/proxy/tcp"
	"lateen.dev/lateen/telemetry"
	"lateen.dev/lateen/wire/sock"
)

// serve runs a connection through its chain. Its frame and those it calls on the way stay on the stack while the
// connection idles, so they are kept small: see TestIdleStack.
func (p *Proxy) serve(a *listen.Accepted) {
	if !p.admit(a) {
		return
	}
	defer leave(a)
	switch t := a.Chain.Terminal().(type) {
	case *plan.HTTPConnectionManager:
		if m, ok := t.Runtime.(*hcm.Manager); ok {
			p.ended(a, m.Serve(a))
		}
	case *plan.TCPProxy:
		p.tcp.Serve(p.ctx, a, t)
	case *plan.DirectResponseFilter:
		if _, err := a.Conn.Write(t.Body); err == nil {
			a.Conn.Linger(time.Second, 64<<10)
		}
	}
}

func (p *Proxy) ended(a *listen.Accepted, err error) {
	if err != nil {
		p.opts.Logger.Debug("connection ended", "listener", a.Listener.Name, "from", a.Remote, "error", err)
	}
}

// admit says whether a connection may go to its chain's terminal filter, and logs it if not.
func (p *Proxy) admit(a *listen.Accepted) bool {
	if a.Chain == nil {
		p.log(a, a.Listener.AccessLogs, telemetry.FlagNoRouteFound, "filter_chain_not_found")
		return false
	}
	if a.Why != nil {
		p.opts.Logger.Debug("connection refused", "listener", a.Listener.Name, "from", a.Remote, "error", a.Why)
		p.log(a, a.Listener.AccessLogs, telemetry.FlagDownstreamConnectionTermination, a.Why.Error())
		return false
	}
	if policy, missing, ok := tcp.Admit(p.opts.Current.Load(), a); missing != "" {
		p.log(a, logsOf(a.Chain), telemetry.FlagNoFilterConfigFound, "filter_config_not_found{"+missing+"}")
		return false
	} else if !ok {
		p.log(a, logsOf(a.Chain), telemetry.FlagUnauthorizedExternalService, "rbac_access_denied_matched_policy["+policy+"]")
		return false
	}
	return p.enter(a)
}

// enter counts the connection against its chain's limits.
func (p *Proxy) enter(a *listen.Accepted) bool {
	for i := range a.Chain.Filters {
		f, ok := a.Chain.Filters[i].Config.(*plan.ConnectionLimit)
		if !ok {
			continue
		}
		n, ok := f.Runtime.(*atomic.Int64)
		if !ok || n.Add(1) <= int64(f.Max) {
			continue
		}
		leaveFirst(a, i+1)
		if f.Delay > 0 {
			hold(a.Conn, f.Delay)
		}
		return false
	}
	return true
}

// hold keeps a connection that is over the limit open for a while, so that its client doesn't come back at once.
func hold(c *sock.Conn, d time.Duration) {
	c.SetReadDeadline(sock.Now().Add(d))
	var b [512]byte
	for {
		if _, err := c.Read(b[:]); err != nil {
			return
		}
	}
}

func leave(a *listen.Accepted) { leaveFirst(a, len(a.Chain.Filters)) }

// leaveFirst takes the connection off the limits of the first n filters.
func leaveFirst(a *listen.Accepted, n int) {
	for i := range a.Chain.Filters[:n] {
		if f, ok := a.Chain.Filters[i].Config.(*plan.ConnectionLimit); ok {
			if count, ok := f.Runtime.(*atomic.Int64); ok {
				count.Add(-1)
			}
		}
	}
}

func logsOf(c *plan.FilterChain) []*plan.AccessLog {
	switch t := c.Terminal().(type) {
	case *plan.HTTPConnectionManager:
		return t.AccessLogs
	case *plan.TCPProxy:
		return t.AccessLogs
	}
	return nil
}

// log writes what became of a connection that no filter has served.
func (p *Proxy) log(a *listen.Accepted, logs []*plan.AccessLog, flags telemetry.ResponseFlags, why string) {
	if len(logs) == 0 {
		return
	}
	r := telemetry.Record{
		Start: a.Start, Duration: time.Since(a.Start), Protocol: telemetry.ProtocolTCP, GRPCStatus: -1, Flags: flags,
		Termination: why, ConnectionID: a.ID, RequestedServer: a.SNI,
		DownstreamLocal: a.Destination, DownstreamRemote: a.Remote, DownstreamDirect: a.Direct,
	}
	if a.TLS != nil && a.TLS.Peer != nil {
		r.DownstreamPeerURI = a.TLS.Peer.ID
	}
	for _, l := range logs {
		if sink, ok := l.Runtime.(LogSink); ok && l.Filter.Log(&r, nil, rand.Uint64()) {
			sink.Write(l.Formatter.Append(nil, &r))
		}
	}
}
