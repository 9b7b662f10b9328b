//go:build !race

package proxy

import (
	"io"
	"net"
	"runtime"
	"testing"

	"lateen.dev/lateen/proxy/plan"
)

const answer1K = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 10\r\n\r\n0123456789"

// hot is a manager with everything that a sidecar has: statistics, RBAC, of which one comes by itself, peer metadata.
func hot(t testing.TB, b *bed) *plan.HTTPConnectionManager {
	m := manager(t, b.route("/", "fixed"))
	rules := &plan.RBACRules{Policies: []plan.RBACPolicy{{
		Name: "any", Permissions: []plan.RBACRule{{Kind: plan.RBACAny}}, Principals: []plan.RBACRule{{Kind: plan.RBACAny}},
	}}}
	b.extension("deny", &plan.RBAC{Rules: &plan.RBACRules{Action: plan.RBACDeny}})
	m.Filters = []plan.HTTPFilter{
		{Name: "rbac", Config: &plan.RBAC{Rules: rules}}, b.discovered("deny"), {Name: "peer", Config: &plan.PeerMetadata{PropagateUpstream: true}},
		{Name: "fault", Config: &plan.Fault{}}, {Name: "cors", Config: &plan.CORS{}},
		{Name: "stats", Config: &plan.Stats{}}, {Name: "router", Config: &plan.Router{}},
	}
	return m
}

// driver sends the same request again and again over one connection.
type driver struct {
	nc       net.Conn
	request  []byte
	response []byte
}

func (b *bed) driver() *driver {
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { nc.Close() })
	return &driver{nc: nc, response: make([]byte, 16<<10),
		request: []byte("GET /api/v1/users?id=1 HTTP/1.1\r\nHost: svc-a.default.svc.cluster.local\r\nuser-agent: driver\r\naccept: */*\r\n\r\n")}
}

func (d *driver) once(t testing.TB) {
	if _, err := d.nc.Write(d.request); err != nil {
		t.Fatal(err)
	}
	n, err := d.nc.Read(d.response)
	if err != nil && err != io.EOF || n < 100 {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

// The race detector makes pools forget at random, so this file is not built with it.
func TestForwardPathDoesNotAllocate(t *testing.T) {
	b := newBed(t)
	b.cluster("fixed", fixed(t, answer1K))
	b.listen(hot(t, b))
	d := b.driver()
	for range 100 {
		d.once(t)
	}
	const requests = 2000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range requests {
		d.once(t)
	}
	runtime.ReadMemStats(&after)
	// The date header makes one allocation a second, the runtime a few of its own.
	if n := float64(after.Mallocs-before.Mallocs) / requests; n > 0.05 {
		t.Errorf("%.2f allocations per request, want none", n)
	}
}

// TestIdleStack holds an idle connection's stack to 4 KiB, the next smaller size than what a request needs. The collector
// halves a stack of which less than a quarter is in use, so the calls below the wait must stay below 1.2 KiB.
func TestIdleStack(t *testing.T) {
	b := newBed(t)
	b.cluster("fixed", fixed(t, answer1K))
	b.listen(hot(t, b))
	const connections = 300
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range connections {
		b.driver().once(t)
	}
	for range 3 { // each may halve a stack once
		runtime.GC()
	}
	runtime.ReadMemStats(&after)
	// A driver has no goroutine, so all stacks are those of the proxy and of the upstream's few connections.
	if n := (int64(after.StackInuse) - int64(before.StackInuse)) / connections; n > 5<<10 {
		t.Errorf("an idle connection holds %d bytes of stack, want 4 KiB", n)
	}
}

func BenchmarkForward(b *testing.B) {
	bd := newBed(b)
	bd.cluster("fixed", fixed(b, answer1K))
	bd.listen(hot(b, bd))
	d := bd.driver()
	d.once(b)
	b.ReportAllocs()
	for b.Loop() {
		d.once(b)
	}
}
