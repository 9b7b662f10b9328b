package redirect

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const tableName = "lateen"

// Namespace names the network namespace that rules are put in.
// The zero value is the one the calling process is in.
type Namespace struct {
	FD int // an open network namespace (/proc/PID/ns/net, /run/netns/NAME), or 0
}

// Apply installs the rules, in place of any that were installed before.
// It needs CAP_NET_ADMIN over the namespace.
func (p Program) Apply(ns Namespace) error { return apply(ns, p.add) }

// Apply installs the rules, in place of any that were installed before.
// It needs CAP_NET_ADMIN over the namespace.
func (s Sidecar) Apply(ns Namespace) error { return apply(ns, s.add) }

// Remove takes away whatever Apply has installed in the namespace.
func Remove(ns Namespace) error {
	return apply(ns, func(r *ruleset) { r.conn.DelTable(r.table) })
}

// apply sends one transaction: an old table of ours goes and the new one comes
// at once, so no packet meets a namespace without rules.
func apply(ns Namespace, fill func(*ruleset)) error {
	var opts []nftables.ConnOption
	if ns.FD > 0 {
		opts = append(opts, nftables.WithNetNSFd(ns.FD))
	}
	conn, err := nftables.New(opts...)
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName}
	// Adding before deleting makes the deletion succeed when there was none.
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	r := &ruleset{conn: conn, table: table}
	fill(r)
	if err := conn.Flush(); err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("install the nftables rules: the kernel lacks nftables, its nat or its redirect: %w", err)
		}
		return fmt.Errorf("install the nftables rules: %w", err)
	}
	return nil
}

// ruleset collects the rules of one table.
type ruleset struct {
	conn  *nftables.Conn
	table *nftables.Table
}

func (r *ruleset) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
	return r.conn.AddChain(&nftables.Chain{Name: name, Table: r.table, Type: kind, Hooknum: hook, Priority: prio})
}

// rule adds a rule: its matches in order, then what to do.
func (r *ruleset) rule(c *nftables.Chain, parts ...[]expr.Any) {
	var exprs []expr.Any
	for _, p := range parts {
		exprs = append(exprs, p...)
	}
	r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: c, Exprs: exprs})
}

func (p Program) add(r *ruleset) {
	nat := r.chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	r.rule(nat, l4proto(unix.IPPROTO_UDP), dport(53), redirectTo(p.DNSPort))
	r.rule(nat, l4proto(unix.IPPROTO_TCP), dport(53), redirectTo(p.DNSPort))
	p.local(r, nat)
	r.rule(nat, l4proto(unix.IPPROTO_TCP), redirectTo(p.OutboundPort))

	// What was redirected has a local address by now. The rest (UDP, ICMP…)
	// has nowhere to go; refusing it lets QUIC clients fall back at once.
	filter := r.chain("refuse", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	p.local(r, filter)
	r.rule(filter, refuse())
}

// local lets packets to the namespace's own addresses pass.
func (p Program) local(r *ruleset, c *nftables.Chain) {
	r.rule(c, daddr(netip.MustParsePrefix("127.0.0.0/8"), true), accept())
	r.rule(c, daddr(netip.MustParsePrefix("::1/128"), true), accept())
	for _, a := range p.Local {
		r.rule(c, daddr(netip.PrefixFrom(a, a.BitLen()), true), accept())
	}
}

func (s Sidecar) add(r *ruleset) {
	if s.InboundPort != 0 {
		s.addInbound(r)
	}
	if s.OutboundPort != 0 {
		s.addOutbound(r)
	}
}

func (s Sidecar) addInbound(r *ruleset) {
	in := r.chain("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	tcp := l4proto(unix.IPPROTO_TCP)
	// Loopback traffic is met in the output hook, where its owner is known.
	r.rule(in, ifname(expr.MetaKeyIIFNAME, "lo"), accept())
	if s.PassMark != 0 {
		r.rule(in, mark(s.PassMark), accept())
	}
	for _, port := range s.ExcludeInbound {
		r.rule(in, tcp, dport(port), accept())
	}
	r.rule(in, tcp, redirectTo(s.InboundPort))
}

// addOutbound follows the order of Istio's ISTIO_OUTPUT chain.
func (s Sidecar) addOutbound(r *ruleset) {
	out := r.chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	tcp, udp := l4proto(unix.IPPROTO_TCP), l4proto(unix.IPPROTO_UDP)
	lo := ifname(expr.MetaKeyOIFNAME, "lo")
	// The proxy reaches the program from these addresses.
	r.rule(out, saddr(netip.MustParsePrefix("127.0.0.6/32")), lo, accept())
	r.rule(out, saddr(netip.MustParsePrefix("::6/128")), lo, accept())
	for _, who := range [][]expr.Any{owner(expr.MetaKeySKUID, s.ProxyUID), owner(expr.MetaKeySKGID, s.ProxyGID)} {
		if s.InboundPort != 0 {
			// The program calls its own service: the proxy chose this
			// machine, so the call comes in as if from outside. Each family
			// has its own line, for the loopback address that is excepted.
			for _, loopback := range []string{"127.0.0.1/32", "::1/128"} {
				r.rule(out, tcp, lo, daddr(netip.MustParsePrefix(loopback), false), notDport(15008), who, redirectTo(s.InboundPort))
			}
		}
		r.rule(out, who, accept())
	}
	if s.PassMark != 0 {
		r.rule(out, mark(s.PassMark), accept())
	}
	if s.DNSPort != 0 {
		r.rule(out, udp, dport(53), redirectTo(s.DNSPort))
		r.rule(out, tcp, dport(53), redirectTo(s.DNSPort))
	}
	r.rule(out, lo, accept())
	for _, port := range s.ExcludeOutbound {
		r.rule(out, tcp, dport(port), accept())
	}
	for _, cidr := range s.ExcludeOutboundCIDRs {
		r.rule(out, daddr(cidr, true), accept())
	}
	r.rule(out, tcp, redirectTo(s.OutboundPort))
}

// The words of the rules. Each loads register 1 and compares it.

func l4proto(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

func dport(port uint16) []expr.Any    { return compareDport(expr.CmpOpEq, port) }
func notDport(port uint16) []expr.Any { return compareDport(expr.CmpOpNeq, port) }

func compareDport(op expr.CmpOp, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: op, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// daddr matches packets of the prefix's family to it, or to anything but it.
func daddr(p netip.Prefix, in bool) []expr.Any {
	op := expr.CmpOpEq
	if !in {
		op = expr.CmpOpNeq
	}
	if p.Addr().Is4() {
		return address(p, 16, op)
	}
	return address(p, 24, op)
}

func saddr(p netip.Prefix) []expr.Any {
	if p.Addr().Is4() {
		return address(p, 12, expr.CmpOpEq)
	}
	return address(p, 8, expr.CmpOpEq)
}

// address compares the address at that offset of the network header.
func address(p netip.Prefix, offset uint32, op expr.CmpOp) []expr.Any {
	family := byte(unix.NFPROTO_IPV4)
	if p.Addr().Is6() {
		family = unix.NFPROTO_IPV6
	}
	size := uint32(p.Addr().BitLen() / 8)
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func ifname(key expr.MetaKey, name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data},
	}
}

func owner(key expr.MetaKey, id uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(id)},
	}
}

func mark(m uint32) []expr.Any { return owner(expr.MetaKeyMARK, m) }

func redirectTo(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Redir{RegisterProtoMin: 1},
	}
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

func refuse() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
}
