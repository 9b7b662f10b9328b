//go:build !linux

package capture

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"

	"lateen.dev/lateen/capture/redirect"
)

// Namespace is never made: only Linux has namespaces of this kind.
type Namespace struct{}

func notLinux() error {
	return &UnsupportedError{Stage: "create the namespaces", Err: errors.New("that needs Linux")}
}

// IsStub is always false here.
func IsStub([]string) bool { return false }

// StubMain is never called here.
func StubMain([]string) int { return 1 }

// Supported tells that this is not Linux.
func Supported() error { return notLinux() }

// Start tells that this is not Linux.
func Start(context.Context, Spec) (*Namespace, error) { return nil, notLinux() }

// Release tells that this is not Linux.
func (*Namespace) Release(context.Context) error { return notLinux() }

// Outbound has nothing to return here.
func (*Namespace) Outbound() *net.TCPListener { return nil }

// DNSPackets has nothing to return here.
func (*Namespace) DNSPackets() []*net.UDPConn { return nil }

// DNSStreams has nothing to return here.
func (*Namespace) DNSStreams() *net.TCPListener { return nil }

// PID has nothing to return here.
func (*Namespace) PID() int { return 0 }

// Signal tells that this is not Linux.
func (*Namespace) Signal(os.Signal) error { return notLinux() }

// Dial tells that this is not Linux.
func (*Namespace) Dial(context.Context, uint16) (net.Conn, error) { return nil, notLinux() }

// Listening tells that this is not Linux.
func (*Namespace) Listening(context.Context, uint16) error { return notLinux() }

// Done is nil here: it never happens.
func (*Namespace) Done() <-chan struct{} { return nil }

// Wait tells that this is not Linux.
func (*Namespace) Wait() ExitStatus { return ExitStatus{Code: 1, Err: notLinux()} }

// Close has nothing to close here.
func (*Namespace) Close() error { return nil }

// OriginalDst tells that this is not Linux.
func OriginalDst(conn net.Conn) (netip.AddrPort, error) { return redirect.OriginalDst(conn) }
