package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"lateen.dev/lateen/config/mesh"
	"lateen.dev/lateen/source/workload"
)

// AwayOptions are the flags of a proxy whose control plane is on another machine.
// The zero value means that it is on this one, at its local API.
type AwayOptions struct {
	// Control is the control plane's TLS address, HOST:PORT.
	Control string
	// RootFile has the mesh's root certificates, PEM.
	RootFile string
	// TokenFile has a token that proves the workload's identity. It is read again
	// for each use, so that it may be replaced.
	TokenFile   string
	TrustDomain string
	// Address is this machine's, at which others reach the workload; "" takes the
	// one from which the control plane is reached.
	Address string
	// AdminPort is where the proxy's admin pages are, on 127.0.0.1; 15000 if 0.
	AdminPort uint16
	// Group is the WorkloadGroup as one of which the workload registers itself.
	Group string
}

// joining is what a proxy needs of its control plane besides discovery.
type joining interface {
	Call(ctx context.Context, method, pathQuery string, body, out any) error
	Close()
}

// away stands for the local API of a control plane that is on another machine. It
// registers nothing: what the mesh knows of the workload, a WorkloadEntry says.
type away struct {
	o       AwayOptions
	root    []byte
	address netip.Addr
}

// newAway reads what the flags name.
func newAway(o AwayOptions) (*away, error) {
	if o.RootFile == "" || o.TokenFile == "" {
		return nil, errors.New("--control-address needs --root-cert and --token-file too; lateen workload configure, on the control plane's machine, writes both")
	}
	if _, _, err := net.SplitHostPort(o.Control); err != nil {
		return nil, fmt.Errorf("--control-address %q is not HOST:PORT: %w", o.Control, err)
	}
	a := &away{o: o}
	var err error
	if a.root, err = os.ReadFile(o.RootFile); err != nil {
		return nil, fmt.Errorf("--root-cert: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(a.root) {
		return nil, fmt.Errorf("--root-cert: %s has no certificate", o.RootFile)
	}
	if _, err := a.token(); err != nil {
		return nil, err
	}
	if a.address, err = o.ownAddress(); err != nil {
		return nil, err
	}
	return a, nil
}

// ownAddress is the flag's, or that of the interface which leads to the control
// plane. Nothing is sent for it.
func (o *AwayOptions) ownAddress() (netip.Addr, error) {
	if o.Address != "" {
		a, err := netip.ParseAddr(o.Address)
		if err != nil {
			return a, fmt.Errorf("--address: %w", err)
		}
		return a, nil
	}
	c, err := net.Dial("udp", o.Control)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("--control-address: %w; is this machine's own address known? Name it with --address", err)
	}
	defer c.Close()
	local, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("this machine's address: %w", err)
	}
	return local.Addr().Unmap(), nil
}

func (a *away) token() (string, error) {
	b, err := os.ReadFile(a.o.TokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	if len(strings.TrimSpace(string(b))) == 0 {
		return "", fmt.Errorf("--token-file: %s is empty", a.o.TokenFile)
	}
	return strings.TrimSpace(string(b)), nil
}

// Call implements joining.
func (a *away) Call(_ context.Context, _, path string, body, out any) error {
	switch path {
	case pathWorkloads:
		return a.join(body.(workload.Request), out.(*joinResponse))
	case pathToken:
		token, err := a.token()
		*out.(*tokenResponse) = tokenResponse{Token: token, Expires: time.Now()}
		return err
	case pathReady, pathLeave:
		return nil // a WorkloadEntry says whether it is an endpoint
	}
	return fmt.Errorf("%s is for proxies on the control plane's own machine", path)
}

// Close implements joining.
func (*away) Close() {}

func (a *away) join(q workload.Request, out *joinResponse) error {
	token, err := a.token()
	if err != nil {
		return err
	}
	if q.ServiceAccount == "" {
		q.ServiceAccount = "default"
	}
	name := strings.TrimSuffix(q.Service+"-"+q.Version, "-")
	*out = joinResponse{
		Workload:  workload.Registration{Request: q, Name: name, Address: a.address},
		Discovery: a.o.Control, Root: a.root, Token: token, TrustDomain: a.o.TrustDomain, MeshID: a.o.TrustDomain, Cluster: clusterName,
		TerminationDrain: mesh.Default().GetDefaultConfig().GetTerminationDrainDuration().AsDuration(), away: true, adminPort: a.o.AdminPort, group: a.o.Group,
	}
	return nil
}
