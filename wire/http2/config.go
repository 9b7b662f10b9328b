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
	// MaxControlFrames bounds the answers (SETTINGS and PING acknowledgements,
	// resets) that wait for a peer that does not read.
	MaxControlFrames int
	// MaxResets is how many streams more than it lets end a peer may reset, and
	// how many of its streams may be in error, before the connection is closed.
	MaxResets int
	// MaxEmptyFrames is how many empty DATA, HEADERS or CONTINUATION frames may
	// come in a row.
	MaxEmptyFrames int
	// MaxPings is how many PING, SETTINGS, PRIORITY and stray WINDOW_UPDATE
	// frames may come for each stream served, beyond a start-up allowance of
	// the same number.
	MaxPings int
	// EnableConnect announces extended CONNECT (RFC 8441), for servers.
	EnableConnect bool
	// PingInterval is how often the peer is asked, by PING, whether it is still
	// there; 0 is never. It has PingTimeout to answer, by default as long.
	PingInterval, PingTimeout time.Duration
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
		MaxControlFrames:     1000,
		MaxResets:            200,
		MaxEmptyFrames:       16,
		MaxPings:             1000,
	}
}

func (c Config) withDefaults() Config {
	d := Default()
	for _, f := range []struct {
		v *uint32
		d uint32
	}{{&c.MaxConcurrentStreams, d.MaxConcurrentStreams}, {&c.StreamWindow, d.StreamWindow}, {&c.ConnWindow, d.ConnWindow},
		{&c.MaxHeaderBytes, d.MaxHeaderBytes}} {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	for _, f := range []struct{ v, d *int }{{&c.MaxHeaderFields, &d.MaxHeaderFields}, {&c.MaxControlFrames, &d.MaxControlFrames},
		{&c.MaxResets, &d.MaxResets}, {&c.MaxEmptyFrames, &d.MaxEmptyFrames}, {&c.MaxPings, &d.MaxPings}} {
		if *f.v == 0 {
			*f.v = *f.d
		}
	}
	if c.PingTimeout <= 0 {
		c.PingTimeout = c.PingInterval
	}
	c.StreamWindow = min(c.StreamWindow, maxWindow)
	c.ConnWindow = min(max(c.ConnWindow, initialWindow), maxWindow)
	return c
}
