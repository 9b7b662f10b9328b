// Package capture is how a program's packets reach its proxy.
//
// Start runs a program in a user and network namespace of its own, without
// root: all the TCP it opens and all the DNS it asks arrives at sockets that
// the caller holds, the caller can dial into the program, and nothing else goes
// in or out. Package capture/redirect holds the packet rules, for such a
// namespace and for an ordinary one (a pod, a container, a test host).
//
// # Who is who
//
// The caller (the sidecar) stays where it is. Start runs its own executable
// again as the stub: the first process in the new namespaces, which brings up
// the loopback device, installs the rules, opens the sockets and hands them to
// the caller over a socket pair. Then it gives up its capabilities and becomes
// the keeper: the program's parent, which lives as long as the program does,
// makes sockets inside the namespace on request (Dial), passes signals in and the
// exit status out, and ends the program if the caller vanishes. The program
// never sees any of it: it has its arguments, environment, user, group,
// directory and standard streams as it would without, no capabilities, and can
// gain none.
//
// Whoever links this package must call StubMain first thing in main when IsStub
// says so.
//
// Who calls it: app (lateen run, lateen demo); test (hosts for Envoy).
//
// Goroutines: a Namespace owns two, both ended when the program ends or by
// Close, which waits for them. All its methods are safe for concurrent use.
//
// May import: wire, telemetry.
package capture
