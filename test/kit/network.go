package kit

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
)

// Network is where hosts live. Namespaces and Memory make one.
type Network interface {
	// Place makes a host's place in the network; its address is reachable from all others when it returns.
	Place(name string, addr netip.Addr) (Place, error)
	Close() error
}

// Place is what one host has of a network.
type Place interface {
	// Listen and Dial do what a program on the host would do. Once captured, what is dialled arrives at the host's proxy.
	Listen(address string) (net.Listener, error)
	Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	// Capture turns connections of and to the host's programs to its proxy. inbound is false for hosts that are called
	// directly (gateways).
	Capture(inbound bool) error
	// Start starts a command on the host as the proxy's user; the command dies with this process.
	Start(cmd *exec.Cmd) error
}

// Where a captured host's proxy listens.
const (
	outboundPort = 15001
	inboundPort  = 15006
	// proxyUser is the user and group whose connections are not captured. passMark marks connections that aren't either,
	// where there is no such user.
	proxyUser = 1337
	passMark  = 1337
)

// hubAddr is the address of the machine that all hosts are connected to. External DNS is served there.
func hubAddr() netip.Addr { return netip.MustParseAddr("10.10.0.1") }

// prefixBits is the length of the hosts' common prefix.
const prefixBits = 16
