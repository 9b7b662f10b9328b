package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"
)

// serve runs a proxy on loopback and returns its address, UDP and TCP alike.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(ctx, Sockets{Packets: []net.PacketConn{pc}, Streams: []net.Listener{l}}); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return l.Addr().String()
}

// upstream is a resolver of the machine, on loopback; respond gets UDP and TCP.
func upstream(t *testing.T, respond func(network string, w miekg.ResponseWriter, q *miekg.Msg)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, srv := range []*miekg.Server{
		{PacketConn: pc, Handler: miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) { respond("udp", w, q) })},
		{Listener: l, Handler: miekg.HandlerFunc(func(w miekg.ResponseWriter, q *miekg.Msg) { respond("tcp", w, q) })},
	} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		var wg sync.WaitGroup
		wg.Go(func() { _ = srv.ActivateAndServe() })
		<-started
		t.Cleanup(func() { _ = srv.Shutdown(); wg.Wait() })
	}
	return netip.MustParseAddrPort(l.Addr().String())
}

func txt(q *miekg.Msg, values ...string) *miekg.Msg {
	m := new(miekg.Msg).SetReply(q)
	for _, v := range values {
		m.Answer = append(m.Answer, &miekg.TXT{Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypeTXT, Class: miekg.ClassINET, Ttl: 5}, Txt: []string{v}})
	}
	return m
}

func ask(t *testing.T, network, server, name string, kind uint16) *miekg.Msg {
	t.Helper()
	c := miekg.Client{Net: network, Timeout: 10 * time.Second}
	reply, _, err := c.Exchange(new(miekg.Msg).SetQuestion(name, kind), server)
	if err != nil {
		t.Fatalf("%s %s: %v", network, name, err)
	}
	return reply
}

func TestMeshNames(t *testing.T) {
	server := serve(t, New(Config{Table: testTable()}))
	for _, c := range []struct {
		name  string
		kind  uint16
		rcode int
		want  string // the answers' data, joined
	}{
		{"reviews.", miekg.TypeA, miekg.RcodeSuccess, "240.240.0.1"},
		{"ReViews.default.SVC.", miekg.TypeA, miekg.RcodeSuccess, "240.240.0.1"},
		{"reviews.", miekg.TypeAAAA, miekg.RcodeSuccess, ""},
		{"reviews.", miekg.TypeHTTPS, miekg.RcodeSuccess, ""},
		{"reviews.", miekg.TypeMX, miekg.RcodeSuccess, ""},
		{"six.example.net.", miekg.TypeA, miekg.RcodeSuccess, ""},
		{"six.example.net.", miekg.TypeAAAA, miekg.RcodeSuccess, "fd00::7"},
		{"any.example.com.", miekg.TypeA, miekg.RcodeSuccess, "240.240.0.5"},
		{"unknown.default.svc.cluster.local.", miekg.TypeA, miekg.RcodeNameError, ""},
		{"1.0.240.240.in-addr.arpa.", miekg.TypePTR, miekg.RcodeSuccess, "reviews.default.svc.cluster.local."},
		{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", miekg.TypePTR, miekg.RcodeSuccess, "ratings.default.svc.cluster.local."},
		{"localhost.", miekg.TypeA, miekg.RcodeSuccess, "127.0.0.1"},
		{"x.localhost.", miekg.TypeAAAA, miekg.RcodeSuccess, "::1"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			reply := ask(t, network, server, c.name, c.kind)
			var data []string
			for _, rr := range reply.Answer {
				if rr.Header().Name != c.name || rr.Header().Ttl != TTL {
					t.Errorf("%s: answered %v", c.name, rr)
				}
				data = append(data, strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			if got := strings.Join(data, " "); got != c.want || reply.Rcode != c.rcode {
				t.Errorf("%s %s %s: %s %q, want %s %q", network, c.name, miekg.TypeToString[c.kind],
					miekg.RcodeToString[reply.Rcode], got, miekg.RcodeToString[c.rcode], c.want)
			}
			if c.want == "" && (len(reply.Ns) != 1 || reply.Ns[0].Header().Rrtype != miekg.TypeSOA) {
				t.Errorf("%s: a negative answer without SOA: %v", c.name, reply.Ns)
			}
			if !reply.Authoritative || !reply.RecursionAvailable {
				t.Errorf("%s: flags of %v", c.name, reply.MsgHdr)
			}
		}
	}
}

func TestOtherNamesAreForwarded(t *testing.T) {
	var asked atomic.Int32
	up := upstream(t, func(_ string, w miekg.ResponseWriter, q *miekg.Msg) {
		asked.Add(1)
		reply := txt(q, "from upstream")
		if q.Question[0].Name == "missing.example.net." {
			reply = new(miekg.Msg).SetRcode(q, miekg.RcodeNameError)
		}
		_ = w.WriteMsg(reply)
	})
	server := serve(t, New(Config{Table: testTable(), Resolvers: Resolvers{Servers: []netip.AddrPort{up}}}))
	for _, network := range []string{"udp", "tcp"} {
		reply := ask(t, network, server, "www.example.net.", miekg.TypeTXT)
		if len(reply.Answer) != 1 || !strings.Contains(reply.Answer[0].String(), "from upstream") {
			t.Errorf("%s: %v", network, reply)
		}
		if reply := ask(t, network, server, "missing.example.net.", miekg.TypeA); reply.Rcode != miekg.RcodeNameError {
			t.Errorf("%s: a missing name: %s", network, miekg.RcodeToString[reply.Rcode])
		}
		// A host without addresses of its own is the resolvers' affair.
		if reply := ask(t, network, server, "nowhere.example.net.", miekg.TypeTXT); len(reply.Answer) != 1 {
			t.Errorf("%s: %v", network, reply)
		}
	}
	if n := asked.Load(); n != 6 {
		t.Errorf("asked %d times, want 6", n)
	}
}

func TestNextResolverWhenOneFails(t *testing.T) {
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := netip.MustParseAddrPort(closed.LocalAddr().String())
	closed.Close()
	refusing := upstream(t, func(_ string, w miekg.ResponseWriter, q *miekg.Msg) {
		_ = w.WriteMsg(new(miekg.Msg).SetRcode(q, miekg.RcodeRefused))
	})
	good := upstream(t, func(_ string, w miekg.ResponseWriter, q *miekg.Msg) { _ = w.WriteMsg(txt(q, "good")) })
	metrics := &countingMetrics{}
	s := New(Config{Resolvers: Resolvers{Servers: []netip.AddrPort{dead, refusing, good}}, Metrics: metrics})
	server := serve(t, s)
	if reply := ask(t, "udp", server, "a.example.net.", miekg.TypeTXT); len(reply.Answer) != 1 {
		t.Errorf("%v", reply)
	}
	// The last bad answer is better than none.
	s.SetResolvers(Resolvers{Servers: []netip.AddrPort{dead, refusing}})
	if reply := ask(t, "udp", server, "a.example.net.", miekg.TypeTXT); reply.Rcode != miekg.RcodeRefused {
		t.Errorf("%v", reply)
	}
	s.SetResolvers(Resolvers{Servers: []netip.AddrPort{dead}})
	if reply := ask(t, "udp", server, "a.example.net.", miekg.TypeTXT); reply.Rcode != miekg.RcodeServerFailure {
		t.Errorf("%v", reply)
	}
	s.SetResolvers(Resolvers{})
	if reply := ask(t, "udp", server, "a.example.net.", miekg.TypeTXT); reply.Rcode != miekg.RcodeServerFailure {
		t.Errorf("%v", reply)
	}
	if got := fmt.Sprint(metrics.requests.Load(), metrics.answered.Load(), metrics.failed.Load()); got != "4 1 3" {
		t.Errorf("requests, answered, failed: %s", got)
	}
}

type countingMetrics struct{ requests, answered, failed atomic.Int32 }

func (m *countingMetrics) Request() { m.requests.Add(1) }

func (m *countingMetrics) Upstream(_ time.Duration, err error) {
	if err != nil {
		m.failed.Add(1)
	} else {
		m.answered.Add(1)
	}
}

func TestTruncatedAnswerIsFetchedOverTCP(t *testing.T) {
	long := strings.Repeat("x", 200)
	up := upstream(t, func(network string, w miekg.ResponseWriter, q *miekg.Msg) {
		reply := txt(q, long, long, long, long, long, long, long, long)
		if network == "udp" {
			reply.Truncate(miekg.MinMsgSize)
		}
		_ = w.WriteMsg(reply)
	})
	server := serve(t, New(Config{Resolvers: Resolvers{Servers: []netip.AddrPort{up}}}))
	if reply := ask(t, "tcp", server, "long.example.net.", miekg.TypeTXT); len(reply.Answer) != 8 || reply.Truncated {
		t.Errorf("over TCP: %d answers, truncated %v", len(reply.Answer), reply.Truncated)
	}
	// A client that takes 512 bytes gets the sign to come back over TCP.
	reply := ask(t, "udp", server, "long.example.net.", miekg.TypeTXT)
	if !reply.Truncated || reply.Len() > miekg.MinMsgSize {
		t.Errorf("over UDP: %d bytes, truncated %v", reply.Len(), reply.Truncated)
	}
}

// TestForgedAnswersAreIgnored: a resolver's answer must be for our id and our
// question, and what is no DNS at all is passed over.
func TestForgedAnswersAreIgnored(t *testing.T) {
	up := upstream(t, func(_ string, w miekg.ResponseWriter, q *miekg.Msg) {
		forged := txt(q, "forged")
		forged.Id++
		_ = w.WriteMsg(forged)
		forged = txt(q, "forged")
		forged.Question[0].Name = "other.example.net."
		_ = w.WriteMsg(forged)
		forged = txt(q, "forged")
		forged.Response = false
		_ = w.WriteMsg(forged)
		_, _ = w.Write([]byte{1, 2, 3})
		_, _ = w.Write(bytes.Repeat([]byte{0xff}, 40))
		_ = w.WriteMsg(txt(q, "genuine"))
	})
	server := serve(t, New(Config{Resolvers: Resolvers{Servers: []netip.AddrPort{up}}}))
	reply := ask(t, "udp", server, "Mixed.example.net.", miekg.TypeTXT)
	if len(reply.Answer) != 1 || !strings.Contains(reply.Answer[0].String(), "genuine") {
		t.Errorf("%v", reply)
	}
}

func TestMalformedQuestions(t *testing.T) {
	server := serve(t, New(Config{Table: testTable()}))
	c, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, b := range [][]byte{{}, {1}, bytes.Repeat([]byte{0xff}, 600), bytes.Repeat([]byte{0}, 12), append(make([]byte, 12), 0xc0, 0x0c)} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if reply := ask(t, "udp", server, "reviews.", miekg.TypeA); len(reply.Answer) != 1 {
		t.Errorf("after malformed packets: %v", reply)
	}
}

func TestTableIsSwapped(t *testing.T) {
	s := New(Config{})
	server := serve(t, s)
	if reply := ask(t, "udp", server, "reviews.", miekg.TypeA); reply.Rcode != miekg.RcodeServerFailure {
		t.Errorf("without a table: %v", reply)
	}
	s.SetTable(testTable())
	if reply := ask(t, "udp", server, "reviews.", miekg.TypeA); len(reply.Answer) != 1 {
		t.Errorf("with a table: %v", reply)
	}
}

func TestEDNSIsAnsweredInKind(t *testing.T) {
	s := New(Config{Table: testTable()})
	q := new(miekg.Msg).SetQuestion("reviews.", miekg.TypeA)
	if s.answer(q).IsEdns0() != nil {
		t.Error("EDNS for a client that has not asked for it")
	}
	q.SetEdns0(4096, true)
	if s.answer(q).IsEdns0() == nil {
		t.Error("no EDNS for a client that speaks it")
	}
}

func TestAddressesTakeTurns(t *testing.T) {
	s := New(Config{Table: NewTable(TableConfig{Hosts: []Host{{Name: "many.example", Addrs: addrs("10.0.0.1", "10.0.0.2", "10.0.0.3")}}})})
	first := map[string]bool{}
	for range 200 {
		reply := s.answer(new(miekg.Msg).SetQuestion("many.example.", miekg.TypeA))
		if len(reply.Answer) != 3 {
			t.Fatalf("%v", reply)
		}
		first[reply.Answer[0].String()] = true
	}
	if len(first) != 3 {
		t.Errorf("only %d of 3 ever come first", len(first))
	}
}

// TestTimesOut: time is fake; the resolvers never answer.
func TestTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		servers := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53")}
		var dialled []string
		s := New(Config{
			Resolvers: Resolvers{Servers: servers},
			Dial: func(_ context.Context, _, address string) (net.Conn, error) {
				dialled = append(dialled, address)
				ours, theirs := net.Pipe()
				go func() { // swallow the question, say nothing
					b := make([]byte, 512)
					for {
						if _, err := theirs.Read(b); err != nil {
							return
						}
					}
				}()
				return ours, nil
			},
		})
		began := time.Now()
		reply := s.forward(t.Context(), new(miekg.Msg).SetQuestion("slow.example.net.", miekg.TypeA))
		if reply.Rcode != miekg.RcodeServerFailure {
			t.Errorf("%v", reply)
		}
		if took := time.Since(began); took != forwardTimeout {
			t.Errorf("took %v, want %v", took, forwardTimeout)
		}
		if len(dialled) != 2 {
			t.Errorf("asked %v", dialled)
		}
	})
}

func TestForwardsAreBounded(t *testing.T) {
	s := New(Config{Resolvers: Resolvers{Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}}})
	for range maxForwards {
		s.forwards <- struct{}{}
	}
	q := new(miekg.Msg).SetQuestion("www.example.net.", miekg.TypeA)
	if reply := s.forward(t.Context(), q); reply.Rcode != miekg.RcodeServerFailure {
		t.Errorf("%v", reply)
	}
}

func TestServeFailsWithItsSocket(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc.Close()
	err = New(Config{}).Serve(t.Context(), Sockets{Packets: []net.PacketConn{pc}})
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("serving a closed socket: %v", err)
	}
}

func FuzzQuestion(f *testing.F) {
	for _, name := range []string{"reviews.", "unknown.svc.cluster.local.", "1.0.240.240.in-addr.arpa."} {
		b, err := new(miekg.Msg).SetQuestion(name, miekg.TypeA).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := New(Config{Table: testTable()})
	f.Fuzz(func(t *testing.T, packet []byte) {
		q := new(miekg.Msg)
		if q.Unpack(packet) != nil {
			return
		}
		reply := s.answer(q)
		if reply == nil {
			reply = refusal(q, miekg.RcodeServerFailure)
		}
		fit(reply, q, true)
		if b, err := reply.Pack(); err == nil && len(b) > udpSize {
			t.Errorf("an answer of %d bytes", len(b))
		}
	})
}
