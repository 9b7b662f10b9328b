// Package proxyproto parses and writes the header of the PROXY protocol, versions 1 and 2, by which a load balancer
// tells the server behind it who the client is.
//
// Parse and the Append functions are pure and bounded; Read takes the header off a connection. The package starts no
// goroutine.
//
// May import: wire/sock.
package proxyproto
