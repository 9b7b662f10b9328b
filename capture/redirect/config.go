package redirect

import "net/netip"

// Program is the rule set for the namespace of one captured program.
type Program struct {
	OutboundPort uint16 // where TCP to other machines goes
	DNSPort      uint16 // where UDP and TCP to any port 53 goes
	// Local are the namespace's own addresses besides 127.0.0.0/8 and ::1;
	// connections to them are the program's own affair.
	Local []netip.Addr
}

// Sidecar is the rule set for a network namespace shared by program and proxy.
// A zero port leaves that direction alone.
type Sidecar struct {
	OutboundPort uint16
	InboundPort  uint16
	DNSPort      uint16
	// ProxyUID and ProxyGID mark the proxy's own connections, which pass.
	ProxyUID, ProxyGID uint32
	// PassMark lets packets with this mark pass as if the proxy had sent
	// them; 0 means no such mark.
	PassMark uint32
	// ExcludeInbound are destination ports that reach the program directly.
	ExcludeInbound []uint16
	// ExcludeOutbound are destination ports that leave directly.
	ExcludeOutbound []uint16
	// ExcludeOutboundCIDRs are destinations that are left directly.
	ExcludeOutboundCIDRs []netip.Prefix
}

// DefaultSidecar is what Istio sets up for a pod, without DNS capture.
func DefaultSidecar() Sidecar {
	return Sidecar{
		OutboundPort:   15001,
		InboundPort:    15006,
		ProxyUID:       1337,
		ProxyGID:       1337,
		ExcludeInbound: []uint16{15000, 15008, 15020, 15021, 15090},
	}
}
