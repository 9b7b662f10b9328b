package app

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"lateen.dev/lateen/ca"
	"lateen.dev/lateen/cli"
)

// controlListeners are the control plane's open ports and socket.
type controlListeners struct {
	plain, tls, pages, local net.Listener
	// away are those that other machines reach, over TLS.
	away []net.Listener
}

func (c *control) listen() (*controlListeners, error) {
	l := &controlListeners{}
	var err error
	if l.plain, err = listenLoopback(c.o.Port, "discovery", "--control-port"); err == nil {
		if l.tls, err = listenLoopback(c.o.Port+2, "discovery over TLS", "--control-port"); err == nil {
			if l.pages, err = listenLoopback(c.o.Port+4, "pages", "--control-port"); err == nil {
				l.local, err = listenSocket(filepath.Join(c.o.Dir, cli.SocketName))
			}
		}
	}
	for _, address := range c.o.Listen {
		if err != nil {
			break
		}
		var one net.Listener
		if one, err = listenAway(address); err == nil {
			l.away = append(l.away, one)
		}
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close closes what is still open.
func (l *controlListeners) Close() {
	for _, one := range append([]net.Listener{l.plain, l.tls, l.pages, l.local}, l.away...) {
		if one != nil {
			one.Close()
		}
	}
}

// listenAway opens a port for proxies on other machines.
func listenAway(address string) (net.Listener, error) {
	where, err := awayAddress(address)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", where)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", address, err)
	}
	return l, nil
}

// awayAddress reads HOST:PORT, with tls:// before it or not. An empty host means
// every address of the machine.
func awayAddress(address string) (string, error) {
	scheme, where, ok := strings.Cut(address, "://")
	if !ok {
		scheme, where = "tls", address
	}
	if scheme != "tls" {
		return "", fmt.Errorf("--listen %s: what other machines reach is served over TLS only; plain text is for this machine, at --control-port", address)
	}
	if _, port, err := net.SplitHostPort(where); err != nil || port == "" {
		return "", fmt.Errorf("--listen %s: write HOST:PORT, for example 0.0.0.0:15012", address)
	}
	return where, nil
}

// servingHosts are the names and addresses in the control plane's certificate:
// those that each has, those at which it listens, and what the operator adds.
func (o *ControlOptions) servingHosts() ([]string, error) {
	hosts := append(ca.DefaultServingHosts(), o.ServingNames...)
	for _, address := range o.Listen {
		where, err := awayAddress(address)
		if err != nil {
			return nil, err
		}
		host, _, _ := net.SplitHostPort(where)
		if ip, err := netip.ParseAddr(host); host != "" && (err != nil || !ip.IsUnspecified()) {
			hosts = append(hosts, host)
			continue
		}
		own, err := ownAddresses()
		if err != nil {
			return nil, fmt.Errorf("--listen %s: %w", address, err)
		}
		hosts = append(hosts, own...)
	}
	return hosts, nil
}

// ownAddresses are the machine's name and the addresses at which others may reach
// it.
func ownAddresses() ([]string, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("this machine's addresses: %w", err)
	}
	var own []string
	if name, err := os.Hostname(); err == nil && name != "" {
		own = append(own, name)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			own = append(own, n.IP.String())
		}
	}
	return own, nil
}

// listenLoopback listens on 127.0.0.1, and names the flag when it can't.
func listenLoopback(port int, what, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w; choose another port with %s", what, err, flag)
	}
	return l, nil
}
