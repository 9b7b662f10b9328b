package protocol_test

import (
	"testing"

	"lateen.dev/lateen/config/protocol"
)

func TestOfPort(t *testing.T) {
	for _, c := range []struct {
		transport, name, app string
		port                 uint32
		want                 protocol.Protocol
	}{
		{"TCP", "http", "", 80, protocol.HTTP},
		{"TCP", "HTTP2-web", "", 80, protocol.HTTP2},
		{"TCP", "grpc-web-x", "", 80, protocol.GRPCWeb},
		{"TCP", "grpc-x", "", 80, protocol.GRPC},
		{"TCP", "web", "", 80, protocol.Unsupported},
		{"TCP", "http", "tcp", 80, protocol.TCP},
		{"TCP", "http", "unheard-of", 80, protocol.Unsupported},
		{"TCP", "x", "kubernetes.io/h2c", 80, protocol.HTTP2},
		{"TCP", "x", "kubernetes.io/ws", 80, protocol.HTTP},
		{"TCP", "db", "", 3306, protocol.TCP},
		{"TCP", "http", "", 3306, protocol.HTTP},
		{"UDP", "http", "", 80, protocol.UDP},
		{"TCP", "tls", "", 443, protocol.TLS},
	} {
		if got := protocol.OfPort(c.transport, c.name, c.app, c.port); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
	for p := protocol.TCP; p.String() != protocol.Unsupported.String(); p++ {
		if protocol.Parse(p.String()) != p {
			t.Errorf("%s doesn't read back", p)
		}
	}
}
