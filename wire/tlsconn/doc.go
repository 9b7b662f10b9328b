// Package tlsconn puts TLS 1.2 and 1.3 under a sock.Conn, as server or client.
//
// The handshake is crypto/tls's, in a goroutine that Handshake starts and waits for. After it crypto/tls is driven over
// memory as a sock.Layer, so that an encrypted connection waits and reads like a plain one. A Server or Client is
// built once per configuration and used by many connections; certificates are asked for in each handshake, so they
// can be swapped while connections live on.
//
// Peers are verified by a Verifier (chains, trust domains, a cache of what has been verified) and then by a function
// of the caller that looks at their names. Both run for resumed sessions too, and a session is resumed only while the same
// is trusted and the same certificates are shown as when it was made. A session that was made under ML-KEM is resumed with
// X25519, see session.go.
//
// Server, Client, Verifier and Tickets are safe for concurrent use. No goroutine of the package outlives the
// Handshake that has started it.
//
// May import: wire/presentation, wire/sock.
package tlsconn
