package http2

import (
	"errors"
	"time"
)

// aliveData marks the PINGs that ask whether the peer is still there.
var aliveData = [8]byte{'a', 'l', 'i', 'v', 'e'}

// errSilent ends a connection whose peer does not answer.
var errSilent = errors.New("http2 connection: no answer to PING in time")

// startAlive begins to ask: see Config.PingInterval.
func (c *Conn) startAlive() {
	if c.cfg.PingInterval <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alive = time.AfterFunc(c.cfg.PingInterval, c.askAlive)
}

// askAlive is the timer's: it asks, or finds that there was no answer.
func (c *Conn) askAlive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed != nil:
	case c.asked:
		c.failLocked(errSilent)
		c.transport.Close()
		c.signalLocked()
	default:
		c.asked = true
		c.out = append(appendFrameHeader(c.out, len(aliveData), framePing, 0, 0), aliveData[:]...)
		c.signalLocked()
		c.alive.Reset(c.cfg.PingTimeout)
	}
}

// answeredLocked takes the answer.
func (c *Conn) answeredLocked() {
	if !c.asked || c.closed != nil {
		return
	}
	c.read.calm(1) // it is no noise
	c.asked = false
	c.alive.Reset(c.cfg.PingInterval)
}
