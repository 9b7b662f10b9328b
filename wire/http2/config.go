package http2

import "time"

// Config bounds what a peer may do. The zero value means Default.
type Config struct {
	// MaxConcurrentStreams is how many streams the peer may have open.
	MaxConcurrentStreams uint32
	// StreamWindow is how many bytes of a body the peer may send ahead of their
	// being read; a stream begins with at most firstWindow of it, and is let have
	// twice as much each time that half has been read. ConnWindow is how many bytes
	// of all bodies may be on their way. What has come and not been read is given
	// back to the connection at once, so that it holds up its own stream alone, up
	// to holdServer or holdClient times ConnWindow. They bound memory.
	StreamWindow, ConnWindow uint32
	// MaxHeaderBytes bounds a decoded header (names, values and 32 bytes a field,
	// as RFC 9113 counts); MaxHeaderFields its number of fields.
	MaxHeaderBytes  uint32
	MaxHeaderFields int
	// HeaderTable is the size of the dynamic table that the peer may compress headers
	// with; up to maxTableSize.
	HeaderTable uint32
	// NoHeaderTable means that HeaderTable is 0.
	NoHeaderTable bool
	// MaxFieldBytes bounds a header field's name or value; 0 is no limit beside MaxHeaderBytes.
	MaxFieldBytes uint32
	// MaxFrames bounds the frames of all kinds that wait for a peer that does not
	// read: bodies wait from there on, and one more of another kind closes the
	// connection. MaxControlFrames does so for the answers (SETTINGS and PING
	// acknowledgements, resets) among them.
	MaxFrames, MaxControlFrames int
	// MaxResets is how many streams more than it lets end a peer may reset or make
	// faults in before the connection is closed; ResetRate more are forgiven each second.
	MaxResets, ResetRate int
	// MaxEmptyFrames is how many empty DATA, HEADERS or CONTINUATION frames may
	// come in a row; less than 0 is none.
	MaxEmptyFrames int
	// MaxPings is how many PING and SETTINGS frames may come beyond what streams and bodies earn.
	MaxPings int
	// MaxPriorities is how many PRIORITY frames may come for each stream that has been
	// opened, and one more; less than 0 is none.
	MaxPriorities int
	// MaxWindowUpdates is half of how many WINDOW_UPDATE frames may come for each DATA frame that was sent.
	MaxWindowUpdates int
	// EnableConnect announces extended CONNECT (RFC 8441), for servers.
	EnableConnect bool
	// PingInterval is how often the peer is asked, by PING, whether it is still
	// there; 0 is never. It has PingTimeout to answer, by default as long.
	PingInterval, PingTimeout time.Duration
	// Linger is how long what a peer in error still sends is read and thrown away, so
	// that it sees why the connection is over; less than 0 is not at all.
	Linger time.Duration
}

const (
	// firstWindow is how much somebody who reads nothing at all can make us hold.
	firstWindow = 1 << 20
	// holdServer is less than holdClient, as a client chooses itself what it sends,
	// while the answers on a connection to a server are many clients'.
	holdServer = 1
	holdClient = 4
)

// Default returns the limits of a proxy among services.
func Default() Config {
	return Config{
		MaxConcurrentStreams: 1024,
		StreamWindow:         256 << 10,
		ConnWindow:           1 << 20,
		MaxHeaderBytes:       60 << 10,
		MaxHeaderFields:      100,
		HeaderTable:          tableSize,
		MaxFrames:            10_000,
		MaxControlFrames:     1000,
		MaxResets:            200,
		ResetRate:            33,
		MaxEmptyFrames:       16,
		MaxPings:             1000,
		MaxPriorities:        100,
		MaxWindowUpdates:     10,
		Linger:               lingerTime,
	}
}

func (c Config) withDefaults() Config {
	d := Default()
	for _, f := range []struct {
		v *uint32
		d uint32
	}{{&c.MaxConcurrentStreams, d.MaxConcurrentStreams}, {&c.StreamWindow, d.StreamWindow}, {&c.ConnWindow, d.ConnWindow},
		{&c.MaxHeaderBytes, d.MaxHeaderBytes}, {&c.HeaderTable, d.HeaderTable}} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	for _, f := range []struct{ v, d *int }{{&c.MaxHeaderFields, &d.MaxHeaderFields}, {&c.MaxControlFrames, &d.MaxControlFrames},
		{&c.MaxResets, &d.MaxResets}, {&c.ResetRate, &d.ResetRate}, {&c.MaxEmptyFrames, &d.MaxEmptyFrames}, {&c.MaxPings, &d.MaxPings},
		{&c.MaxFrames, &d.MaxFrames}, {&c.MaxPriorities, &d.MaxPriorities}, {&c.MaxWindowUpdates, &d.MaxWindowUpdates}} {
		if *f.v == 0 {
			*f.v = *f.d
		}
	}
	if c.Linger == 0 {
		c.Linger = d.Linger
	}
	c.MaxEmptyFrames, c.MaxPriorities = max(0, c.MaxEmptyFrames), max(0, c.MaxPriorities)
	if c.HeaderTable = min(c.HeaderTable, maxTableSize); c.NoHeaderTable {
		c.HeaderTable = 0
	}
	if c.PingTimeout <= 0 {
		c.PingTimeout = c.PingInterval
	}
	c.StreamWindow = min(c.StreamWindow, maxWindow)
	c.ConnWindow = min(max(c.ConnWindow, initialWindow), maxWindow)
	return c
}
