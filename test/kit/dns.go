package kit

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// packetPlace is a place that can have UDP sockets.
type packetPlace interface {
	ListenPacket(address string) (net.PacketConn, error)
}

// hubbed is a network with a machine in its middle.
type hubbed interface{ Hub() Place }

// serveDNS answers for the names that Name was told, on the network's hub, if it has one.
func (m *Mesh) serveDNS() error {
	n, ok := m.network.(hubbed)
	if !ok {
		return nil
	}
	conn, err := n.Hub().(packetPlace).ListenPacket(netip.AddrPortFrom(hubAddr(), 53).String())
	if err != nil {
		return fmt.Errorf("DNS server: %w", err)
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(m.answerDNS)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// It ends when it is shut down.
		_ = s.ActivateAndServe()
	}()
	m.t.Cleanup(func() {
		// Closing the socket ends it, whether or not it had come to serve.
		_ = conn.Close()
		<-done
	})
	return nil
}

func (m *Mesh) answerDNS(w dns.ResponseWriter, q *dns.Msg) {
	a := new(dns.Msg)
	a.SetReply(q)
	for _, question := range q.Question {
		addrs := m.lookUp(question.Name)
		if len(addrs) == 0 {
			a.Rcode = dns.RcodeNameError
		}
		if question.Qtype != dns.TypeA {
			continue
		}
		for _, addr := range addrs {
			a.Answer = append(a.Answer, &dns.A{Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1},
				A: addr.AsSlice()})
		}
	}
	// Whoever asked asks again.
	_ = w.WriteMsg(a)
}
