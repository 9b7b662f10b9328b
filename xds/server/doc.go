// Package server serves Envoy's aggregated discovery service, delta and
// state-of-the-world, to any client that speaks xDS version 3, and keeps the
// ledger of which client has acknowledged or refused what.
//
// A Provider says what each client shall have; the pure state machine in
// xds/internal/machine decides which frames lead there without ever breaking
// the client's traffic; this package moves the frames. A client that reads
// slowly holds one frame and the newest State, never a queue, and hurts nobody
// else.
//
// Called by app. Server and Ledger are safe for concurrent use. Each stream
// runs on gRPC's own goroutine plus one that reads and one that writes; all
// end with the stream, and Server.Close waits for them.
//
// May import: xds.
package server
