package workload

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"net/netip"
)

// DefaultPrefix is where workloads on this machine get their addresses: part
// of the loopback network, so anybody may listen there and nobody outside can
// reach it.
var DefaultPrefix = netip.MustParsePrefix("127.64.0.0/10")

var errFull = errors.New("all addresses for workloads are taken")

// allocate returns an address of the prefix that starts from a hash of the
// name, so that a workload that comes back gets the same one if it is free.
func allocate(prefix netip.Prefix, name string, taken func(netip.Addr) bool) (netip.Addr, error) {
	base := binary.BigEndian.Uint32(prefix.Masked().Addr().AsSlice())
	size := uint32(1) << (32 - prefix.Bits())
	h := fnv.New32a()
	h.Write([]byte(name))
	start := h.Sum32() % size
	for i := range size {
		n := (start + i) % size
		if low := n & 0xff; low == 0 || low == 0xff {
			continue // look like network and broadcast addresses
		}
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], base+n)
		if a := netip.AddrFrom4(b); !taken(a) {
			return a, nil
		}
	}
	return netip.Addr{}, errFull
}
