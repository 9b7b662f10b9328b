package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/source/mcp"
	"lateen.dev/lateen/world"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/server"
)

// proxyPages serves what the command line asks about connected proxies.
type proxyPages struct {
	ledger *server.Ledger
	world  *world.World
	// source is the one whose revisions apply returns.
	source string
	http   *http.Client
}

func newProxyPages(l *server.Ledger, w *world.World, source string) *proxyPages {
	return &proxyPages{ledger: l, world: w, source: source, http: &http.Client{Timeout: 30 * time.Second}}
}

func (p *proxyPages) mount(mux *http.ServeMux) {
	mux.HandleFunc("GET "+cli.PathProxies, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, cli.ProxiesResponse{Proxies: p.list()})
	})
	mux.HandleFunc(cli.PathProxies+"/{name}/admin/{path...}", p.admin)
	mux.HandleFunc("GET "+cli.PathWait, p.wait)
	mux.HandleFunc("GET "+cli.PathVersion, p.version)
}

func (p *proxyPages) list() []cli.Proxy {
	clients := p.ledger.Clients()
	all := make([]cli.Proxy, 0, len(clients))
	for i := range clients {
		all = append(all, proxyOf(&clients[i]))
	}
	slices.SortStableFunc(all, func(a, b cli.Proxy) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func proxyOf(c *server.ClientStatus) cli.Proxy {
	n := c.Node
	out := cli.Proxy{
		Name: firstOf(n.Workload, n.ID), Type: n.Type, Cluster: n.Metadata.ClusterID, Identity: c.Peer.ID,
		Version:  firstOf(n.Meta(metaLateen), n.Metadata.ProxyVersion, n.UserAgent),
		Protocol: "sotw", Since: c.Since, Revision: c.Revision, Admin: n.Meta(metaAdminAddress) != "",
	}
	if mcp.Asks(n) {
		out.Type = "control plane"
	}
	if c.Delta {
		out.Protocol = "delta"
	}
	if len(n.IPs) > 0 {
		out.Address = n.IPs[0].String()
	}
	for i := range c.Types {
		out.Types = append(out.Types, typeOf(&c.Types[i]))
	}
	return out
}

func typeOf(t *server.TypeStatus) cli.ProxyType {
	out := cli.ProxyType{Type: xds.ShortType(t.TypeURL), Status: t.Status(), Since: t.Since, Wanted: t.Wanted, Acked: t.Acked,
		Names: t.Names, Wildcard: t.Wildcard}
	for _, r := range t.Refused {
		out.Refused = append(out.Refused, r.Name)
	}
	if t.LastNack != nil {
		out.Reason = t.LastNack.Reason
	}
	return out
}

// admin passes a request on to a proxy's admin address, which must be on this
// machine's loopback: the address is the proxy's own word.
func (p *proxyPages) admin(w http.ResponseWriter, q *http.Request) {
	address, err := p.adminAddress(q.PathValue("name"))
	if err != nil {
		writeError(w, http.StatusNotFound, err)
		return
	}
	target := url.URL{Scheme: "http", Host: address, Path: "/" + q.PathValue("path"), RawQuery: q.URL.RawQuery}
	request, err := http.NewRequestWithContext(q.Context(), q.Method, target.String(), nil)
	if err != nil {
		writeError(w, http.StatusBadRequest, err)
		return
	}
	answer, err := p.http.Do(request)
	if err != nil {
		writeError(w, http.StatusBadGateway, fmt.Errorf("admin address of %s: %w", q.PathValue("name"), err))
		return
	}
	defer answer.Body.Close()
	w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body) // whoever asked has gone: nobody is left to tell
}

func (p *proxyPages) adminAddress(name string) (string, error) {
	clients := p.ledger.Clients()
	for i := range clients {
		n := clients[i].Node
		if n.Workload != name {
			continue
		}
		address := n.Meta(metaAdminAddress)
		a, err := netip.ParseAddrPort(address)
		if err != nil || !a.Addr().IsLoopback() {
			return "", fmt.Errorf("proxy %s has no admin address on this machine (it says %q)", name, address)
		}
		return address, nil
	}
	return "", fmt.Errorf("proxy %s is not connected", name)
}

// maxWait bounds one request of apply --wait.
const maxWait = 10 * time.Minute

// wait answers when every proxy has a revision of a source, the one that apply
// writes to unless another is named.
func (p *proxyPages) wait(w http.ResponseWriter, q *http.Request) {
	revision, err := strconv.ParseUint(q.FormValue("revision"), 10, 64)
	timeout, terr := time.ParseDuration(q.FormValue("timeout"))
	if err = errors.Join(err, terr); err != nil {
		writeError(w, http.StatusBadRequest, fmt.Errorf("wait: %w", err))
		return
	}
	ctx, cancel := context.WithTimeout(q.Context(), min(max(timeout, 0), maxWait))
	defer cancel()
	started := time.Now()
	snapshot, err := p.snapshotOf(ctx, firstOf(q.FormValue("source"), p.source), revision)
	if err != nil {
		writeError(w, http.StatusGatewayTimeout, fmt.Errorf("revision %d has not been read: %w", revision, err))
		return
	}
	result, err := p.ledger.WaitRevision(ctx, snapshot)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	out := cli.WaitResponse{Revision: revision, Took: time.Since(started), Proxies: result.Acked + len(result.Pending)}
	for i := range result.Pending {
		out.Missing = append(out.Missing, cli.WaitMissing{Proxy: result.Pending[i].Node.Workload})
	}
	for i := range result.Refused {
		r := &result.Refused[i]
		out.Missing = append(out.Missing, cli.WaitMissing{Proxy: r.Client.Node.Workload,
			Reason: fmt.Sprintf("refused %s %s: %s", xds.ShortType(r.TypeURL), strings.Join(r.Nack.Names, ", "), r.Nack.Reason)})
	}
	writeJSON(w, out)
}

// snapshotOf waits for a snapshot that has a source's revision in it, and
// returns its version.
func (p *proxyPages) snapshotOf(ctx context.Context, source string, revision uint64) (uint64, error) {
	sub := p.world.Subscribe()
	defer sub.Close()
	for {
		if s := p.world.Snapshot(); s.Revision(source) >= revision {
			return s.Version(), nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-sub.Ready():
			sub.Take()
		}
	}
}

func (p *proxyPages) version(w http.ResponseWriter, _ *http.Request) {
	out := cli.VersionResponse{Control: Build().String(), Proxies: map[string]int{}}
	for _, proxy := range p.list() {
		out.Proxies[proxy.Version]++
	}
	writeJSON(w, out)
}

// serveHTTP runs an HTTP server on a listener until ctx ends.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("pages on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpGrace)
	defer cancel()
	if err := s.Shutdown(stopCtx); err != nil {
		s.Close()
	}
	<-done
	return nil
}

// httpGrace is how long requests may take to end when a role stops.
const httpGrace = time.Second
