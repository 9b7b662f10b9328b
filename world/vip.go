package world

import (
	"hash/fnv"
	"net/netip"

	"lateen.dev/lateen/model"
)

// Addresses for services that declare none are taken from Istio's ranges: 240.240.0.0/16 and 2001:2::/48, the same number in
// both. Nothing routes them, so a program that connects to one without a sidecar fails at once.
const (
	vipHigh4 = 240
	// vipCount is the greatest prime below 2^16, so that a search with any step visits every number.
	vipCount = 65521
)

// allocator gives each service a number of its own. Where it looks first depends on the service's name alone, so the same
// mesh has the same addresses after a restart; a service keeps its number as long as it exists.
type allocator struct {
	of    map[model.ServiceKey]uint16
	taken map[uint16]model.ServiceKey
}

func newAllocator() *allocator {
	return &allocator{of: make(map[model.ServiceKey]uint16), taken: make(map[uint16]model.ServiceKey)}
}

// assign returns the service's addresses, IPv4 first; nil if all numbers are taken.
func (a *allocator) assign(key model.ServiceKey) []netip.Addr {
	n, ok := a.of[key]
	if !ok {
		if n, ok = a.search(key); !ok {
			return nil
		}
		a.of[key], a.taken[n] = n, key
	}
	return vipAddresses(n)
}

// release gives a service's number back.
func (a *allocator) release(key model.ServiceKey) {
	if n, ok := a.of[key]; ok {
		delete(a.of, key)
		delete(a.taken, n)
	}
}

func (a *allocator) search(key model.ServiceKey) (uint16, bool) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key.Namespace + "/" + key.Hostname))
	sum := h.Sum64()
	at, step := sum%vipCount, 1+(sum>>32)%(vipCount-1)
	for range vipCount {
		// Numbers start at 1: the network's own address is no host's.
		n := uint16(at + 1)
		if _, used := a.taken[n]; !used {
			return n, true
		}
		at = (at + step) % vipCount
	}
	return 0, false
}

func vipAddresses(n uint16) []netip.Addr {
	hi, lo := byte(n>>8), byte(n)
	return []netip.Addr{
		netip.AddrFrom4([4]byte{vipHigh4, vipHigh4, hi, lo}),
		netip.AddrFrom16([16]byte{0x20, 0x01, 0, 2, 14: hi, 15: lo}),
	}
}
