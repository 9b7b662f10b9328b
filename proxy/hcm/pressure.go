package hcm

import (
	"time"

	"lateen.dev/lateen/proxy/listen"
	"lateen.dev/lateen/proxy/overload"
	"lateen.dev/lateen/wire/sock"
)

var _ listen.Relief = (*conn)(nil)

// reduced is what is left of a timeout under the pressure of the moment.
func (c *conn) reduced(t overload.Timer, d time.Duration) time.Duration {
	return c.m.engine.Overload.Reduced(t, d)
}

// Idle implements h1.Handler.
func (c *conn) Idle() time.Duration { return c.reduced(overload.ConnectionIdle, c.m.cfg.Timeouts.Idle) }

// Reconsider implements listen.Relief: who waits for a request, or for a stream to go on, looks how long it may.
func (c *conn) Reconsider() {
	if !c.multiplexed {
		c.acc.Conn.Nudge()
		return
	}
	c.acc.Conn.Interrupt()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.alarm.relays) > 0 {
		c.armLocked(sock.Now())
	}
}

// ResetStreams implements listen.Relief. What HTTP/1 holds of an exchange is bounded by its buffers.
func (c *conn) ResetStreams(bytes int64, most int) int {
	if !c.multiplexed {
		return 0
	}
	return c.http2.ResetHeavy(bytes, most)
}
