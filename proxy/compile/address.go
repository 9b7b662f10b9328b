package compile

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"lateen.dev/lateen/proxy/plan"
)

var socketAddressFields = fields("protocol address port_value ipv4_compat resolver_name")

// address converts an address. names says whether DNS names are allowed.
func address(a *corev3.Address, names bool) (plan.Address, error) {
	switch s := a.GetAddress().(type) {
	case *corev3.Address_SocketAddress:
		return socketAddress(s.SocketAddress, names)
	case *corev3.Address_Pipe:
		if s.Pipe.GetPath() == "" {
			return plan.Address{}, errors.New("pipe: path is empty")
		}
		return plan.Address{Path: s.Pipe.GetPath(), Mode: s.Pipe.GetMode()}, nil
	case *corev3.Address_EnvoyInternalAddress:
		return plan.Address{}, errors.New("envoy_internal_address is not supported by this proxy")
	}
	return plan.Address{}, errors.New("address is missing")
}

func socketAddress(s *corev3.SocketAddress, names bool) (plan.Address, error) {
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		return plan.Address{}, fmt.Errorf("socket_address: protocol %v is not supported by this proxy", s.GetProtocol())
	}
	if err := socketAddressFields.only(s); err != nil {
		return plan.Address{}, at(err, "socket_address")
	}
	port, err := port16(s.GetPortValue())
	if err != nil {
		return plan.Address{}, at(err, "socket_address")
	}
	if ip, err := netip.ParseAddr(s.GetAddress()); err == nil {
		if !s.GetIpv4Compat() || names {
			ip = ip.Unmap()
		}
		return plan.Address{IP: netip.AddrPortFrom(ip, port)}, nil
	}
	if !names || s.GetAddress() == "" {
		return plan.Address{}, fmt.Errorf("socket_address: %q is not an IP address", s.GetAddress())
	}
	return plan.Address{Host: s.GetAddress(), Port: port}, nil
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

func keepAlive(k *corev3.TcpKeepalive) *plan.TCPKeepalive {
	if k == nil {
		return nil
	}
	return &plan.TCPKeepalive{
		Probes:   k.GetKeepaliveProbes().GetValue(),
		Time:     seconds(k.GetKeepaliveTime().GetValue()),
		Interval: seconds(k.GetKeepaliveInterval().GetValue()),
	}
}
