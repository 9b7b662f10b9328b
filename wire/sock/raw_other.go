//go:build !linux

package sock

// newTransport chooses net.Conn's own methods: what raw_linux.go does leans on an edge-triggered poller.
func newTransport(c *Conn) transport { return &netTransport{c: c} }
