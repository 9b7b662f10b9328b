// Package h2 is HTTP/2 on either side of an exchange: the multiplexer of
// wire/http2 in the terms of package exchange, so that the code between the
// sides knows neither protocol.
//
// Who calls it: proxy's connection manager (Downstream, one for each stream)
// and proxy/upstream (Upstream, one for each stream opened).
//
// Goroutines: none of its own. A value belongs to the goroutine that drives the
// exchange, with exchange's rule for a second one; only Cancel may be called
// from others.
//
// May import: wire, proxy/exchange.
package h2
