//go:build !linux

package redirect

import (
	"errors"
	"net"
	"net/netip"
)

// ErrNotRedirected: the connection was made to the listener itself.
var ErrNotRedirected = errors.New("the connection was not redirected")

var errNotLinux = errors.New("packets can be redirected on Linux only")

// Namespace names the network namespace that rules are put in.
type Namespace struct {
	FD int
}

// Apply reports that only Linux has packet rules of this kind.
func (p Program) Apply(Namespace) error { return errNotLinux }

// Apply reports that only Linux has packet rules of this kind.
func (s Sidecar) Apply(Namespace) error { return errNotLinux }

// Remove reports that only Linux has packet rules of this kind.
func Remove(Namespace) error { return errNotLinux }

// OriginalDst reports that only Linux can tell.
func OriginalDst(net.Conn) (netip.AddrPort, error) { return netip.AddrPort{}, errNotLinux }
