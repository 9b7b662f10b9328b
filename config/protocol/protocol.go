// Package protocol names the protocols that a port may speak, and reads them
// from the names and appProtocol fields of ports as Istio does.
//
// It is called by config's validation and analysis, by source and by world. All
// functions are pure; the package starts no goroutines.
//
// May import: lib.
package protocol

import "strings"

// Protocol is the protocol of a port. The zero value is Unsupported, which
// means: nothing was said, so the proxy detects it.
type Protocol uint8

// The protocols, named as in a port's protocol field.
const (
	Unsupported Protocol = iota // not declared: detect
	TCP
	UDP
	HTTP
	HTTP2
	HTTPS
	GRPC
	GRPCWeb
	TLS
	Mongo
	Redis
	MySQL
	HBONE
	protocolCount
)

var names = [protocolCount]string{
	Unsupported: "UnsupportedProtocol", TCP: "TCP", UDP: "UDP", HTTP: "HTTP", HTTP2: "HTTP2", HTTPS: "HTTPS",
	GRPC: "GRPC", GRPCWeb: "GRPC-Web", TLS: "TLS", Mongo: "Mongo", Redis: "Redis", MySQL: "MySQL", HBONE: "HBONE",
}

// String is the protocol's name as it stands in Istio's objects.
func (p Protocol) String() string {
	if p >= protocolCount {
		p = Unsupported
	}
	return names[p]
}

// Parse reads a protocol's name in any case. Unknown names are Unsupported.
func Parse(s string) Protocol {
	for p := TCP; p < protocolCount; p++ {
		if strings.EqualFold(names[p], s) {
			return p
		}
	}
	return Unsupported
}

// IsHTTP says that the requests inside can be read without decrypting anything.
func (p Protocol) IsHTTP() bool {
	switch p {
	case HTTP, HTTP2, GRPC, GRPCWeb:
		return true
	}
	return false
}

// IsHTTP2 says that HTTP inside is spoken as HTTP/2 from the first byte.
func (p Protocol) IsHTTP2() bool { return p == HTTP2 || p == GRPC || p == GRPCWeb }

// IsTCP says that the bytes are passed on unread.
func (p Protocol) IsTCP() bool {
	switch p {
	case TCP, HTTPS, TLS, Mongo, Redis, MySQL:
		return true
	}
	return false
}

// IsTLS says that the client speaks TLS, whose server name can be read.
func (p Protocol) IsTLS() bool { return p == HTTPS || p == TLS }

// Ports of protocols in which the server speaks first; on them detection would
// wait in vain, so they are TCP unless declared otherwise.
const (
	smtpPort  = 25
	dnsPort   = 53
	mysqlPort = 3306
	mongoPort = 27017
)

// OfPort is the protocol of a service port, from its transport ("TCP", "UDP"),
// its name (PROTOCOL or PROTOCOL-SUFFIX), its appProtocol, which replaces the
// name, and its number, which decides for the well-known ports on which servers
// speak first.
func OfPort(transport, name, appProtocol string, port uint32) Protocol {
	if transport == "UDP" {
		return UDP
	}
	if appProtocol != "" {
		name = appProtocol
	}
	if p := ofName(name); p != Unsupported {
		return p
	}
	switch port {
	case smtpPort, dnsPort, mysqlPort, mongoPort:
		return TCP
	}
	return Unsupported
}

func ofName(s string) Protocol {
	switch s {
	case "kubernetes.io/h2c":
		return HTTP2
	case "kubernetes.io/ws", "kubernetes.io/wss":
		return HTTP
	}
	if len(s) >= len("grpc-web") && strings.EqualFold(s[:len("grpc-web")], "grpc-web") {
		return GRPCWeb
	}
	prefix, _, _ := strings.Cut(s, "-")
	return Parse(prefix)
}
