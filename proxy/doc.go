// Package proxy is the data plane's engine: it turns plans into listeners, filter chains and clusters that carry
// traffic, and swaps them without dropping any.
//
// Called by app, which makes a Proxy, gives it to proxy/state as the plan.Engine, runs it, and drains it in the end.
// Each part below has one job: listen accepts, hcm and tcp serve, upstream connects; this package only puts them
// together.
//
// Goroutines: Prepare and Activate are called by the state's single writer. Run returns when its context has ended and
// everything that the proxy started has too, provided that Shutdown was called before. A panic in serving a connection
// ends that connection only.
//
// May import: wire, telemetry, identity, lib, and the rooms below proxy.
package proxy
