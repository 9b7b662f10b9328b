// Package sniff finds out which protocol a client speaks by its first bytes, without consuming them: TLS with the
// server name and protocols it asks for, HTTP/1, HTTP/2 with prior knowledge, or something else.
//
// Classify and ParseHello are pure and bounded. Detect reads from a sock.Conn and puts everything back. The package
// starts no goroutine.
//
// May import: wire/presentation, wire/sock.
package sniff
