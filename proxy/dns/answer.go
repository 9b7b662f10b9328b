package dns

import (
	"math/rand/v2"
	"net/netip"
	"strings"

	miekg "github.com/miekg/dns"
)

// answer answers from the table, or returns nil for what the table does not
// decide.
func (s *Server) answer(q *miekg.Msg) *miekg.Msg {
	if len(q.Question) != 1 {
		return refusal(q, miekg.RcodeFormatError)
	}
	question := q.Question[0]
	if question.Qclass != miekg.ClassINET {
		return nil
	}
	table := s.table.Load()
	if question.Qtype == miekg.TypePTR {
		if a, ok := reverseAddr(question.Name); ok {
			return pointer(q, table, a)
		}
	}
	if addrs, ok := table.Lookup(question.Name); ok {
		return addresses(q, addrs)
	}
	if name := canonical(question.Name); name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return addresses(q, []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}) // RFC 6761, 6.3
	}
	if table.Owns(question.Name) {
		reply := authoritative(q)
		reply.Rcode = miekg.RcodeNameError
		reply.Ns = startOfAuthority(table.zone + ".")
		return reply
	}
	return nil
}

// addresses answers for a known name. A type that it has not is no error: the
// name exists (RFC 2308, NODATA).
func addresses(q *miekg.Msg, addrs []netip.Addr) *miekg.Msg {
	reply := authoritative(q)
	question := q.Question[0]
	// Clients take the first; starting anywhere spreads them.
	start := 0
	if len(addrs) > 1 {
		start = rand.IntN(len(addrs))
	}
	for i := range addrs {
		a := addrs[(start+i)%len(addrs)]
		hdr := miekg.RR_Header{Name: question.Name, Class: miekg.ClassINET, Ttl: TTL}
		switch {
		case a.Is4() && (question.Qtype == miekg.TypeA || question.Qtype == miekg.TypeANY):
			hdr.Rrtype = miekg.TypeA
			reply.Answer = append(reply.Answer, &miekg.A{Hdr: hdr, A: a.AsSlice()})
		case a.Is6() && (question.Qtype == miekg.TypeAAAA || question.Qtype == miekg.TypeANY):
			hdr.Rrtype = miekg.TypeAAAA
			reply.Answer = append(reply.Answer, &miekg.AAAA{Hdr: hdr, AAAA: a.AsSlice()})
		}
	}
	if len(reply.Answer) == 0 {
		reply.Ns = startOfAuthority(question.Name)
	}
	return reply
}

// pointer answers which name an address of the table has; nil for others.
func pointer(q *miekg.Msg, table *Table, a netip.Addr) *miekg.Msg {
	name, ok := table.Reverse(a)
	if !ok {
		return nil
	}
	reply := authoritative(q)
	reply.Answer = []miekg.RR{&miekg.PTR{
		Hdr: miekg.RR_Header{Name: q.Question[0].Name, Rrtype: miekg.TypePTR, Class: miekg.ClassINET, Ttl: TTL},
		Ptr: name + ".",
	}}
	return reply
}

func authoritative(q *miekg.Msg) *miekg.Msg {
	reply := new(miekg.Msg).SetReply(q)
	reply.Authoritative = true
	reply.RecursionAvailable = true
	if q.IsEdns0() != nil {
		reply.SetEdns0(udpSize, false)
	}
	return reply
}

func refusal(q *miekg.Msg, rcode int) *miekg.Msg {
	reply := new(miekg.Msg).SetRcode(q, rcode)
	reply.RecursionAvailable = true
	if q.IsEdns0() != nil {
		reply.SetEdns0(udpSize, false)
	}
	return reply
}

// startOfAuthority bounds how long a negative answer may be kept (RFC 2308).
func startOfAuthority(zone string) []miekg.RR {
	return []miekg.RR{&miekg.SOA{
		Hdr:     miekg.RR_Header{Name: zone, Rrtype: miekg.TypeSOA, Class: miekg.ClassINET, Ttl: TTL},
		Ns:      "ns.dns." + zone,
		Mbox:    "hostmaster." + zone,
		Serial:  1,
		Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: TTL,
	}}
}

// reverseAddr reads the address out of a name in in-addr.arpa or ip6.arpa.
func reverseAddr(name string) (netip.Addr, bool) {
	name = canonical(name)
	if labels, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(labels, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
		return a, err == nil
	}
	labels, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(labels) != 63 {
		return netip.Addr{}, false
	}
	var text strings.Builder
	for i := 62; i >= 0; i -= 2 {
		if i < 62 && labels[i+1] != '.' {
			return netip.Addr{}, false
		}
		text.WriteByte(labels[i])
		if i%8 == 0 && i > 0 {
			text.WriteByte(':')
		}
	}
	a, err := netip.ParseAddr(text.String())
	return a, err == nil && a.Is6()
}
