// Package redirect holds the packet rules that turn connections towards a proxy
// and reads where a turned connection was going.
//
// There are two sets of rules. Program is for the namespace of one captured
// program, whose proxy is outside: everything that leaves goes to the proxy or
// is refused. Sidecar is for a network namespace that program and proxy share
// (a pod, a test host): inbound and outbound TCP is turned, but for what the
// proxy itself sends, which is known by its user or group. Both are nftables
// rules in a table of their own named "lateen", so that they can be replaced or removed
// whole, IPv4 and IPv6.
//
// Who calls it: capture; test (hosts made of network namespaces); app (pods).
//
// Goroutines: starts none; everything may be called concurrently.
//
// May import: nothing of ours.
package redirect
