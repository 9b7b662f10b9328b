package server

import (
	"log/slog"
	"time"
)

// Config is what a Server needs and how much of it clients may use. Zero limits
// take the defaults of Default.
type Config struct {
	Provider     Provider
	Authenticate Authenticate
	// Inspect may be nil: then types of Istio's own are like any other.
	Inspect Inspect
	Metrics Metrics
	// Identity is what answers to Inspect's questions say of the control plane;
	// istioctl expects it to be JSON. Other responses carry a short name.
	Identity string
	Log      *slog.Logger
	Limits   Limits
}

// Limits bound what clients can make the server hold.
type Limits struct {
	// Streams in total; the next one is refused.
	Streams int
	// StreamsOfOne proven identity; clients on loopback that prove none share no
	// such limit.
	StreamsOfOne int
	// Names that one client may subscribe to, over all types.
	Names int
	// HeldBytes is how much memory the subscriptions of all clients may take
	// together; who asks for more then is refused.
	HeldBytes int
	// QueuedBytes is how much memory responses may take together that wait for
	// clients to read them, beside resources, which stand in memory once for all.
	// Who adds more than a few kilobytes then is sent away.
	QueuedBytes int
	// NameBytes is the length of the longest name and type URL.
	NameBytes int
	// Requests a second that are read of one client, once it has used up a burst
	// of BurstSeconds' worth. It is not told: its messages wait on its own
	// connection. A request with many names counts as several.
	Requests int
	// Types that one client may subscribe to.
	Types int
	// FrameBytes is the size above which a response is split where the protocol
	// allows it.
	FrameBytes int
	// SendTimeout ends a stream whose client did not take a frame for so long, and
	// for as much longer as it takes at 128 KiB a second.
	SendTimeout time.Duration
	// HelloTimeout ends a stream that did not send its first request for so
	// long.
	HelloTimeout time.Duration
	// Admitted is the number of new clients that receive their first
	// configuration at the same time. Others wait in the order of their
	// arrival, and clients already served do not notice.
	Admitted int
	// AdmittedFor bounds how long one new client keeps others waiting,
	// AdmittedIdle how long one does that neither takes nor answers anything.
	AdmittedFor, AdmittedIdle time.Duration
}

// Default are the limits for a control plane of thousands of proxies.
func Default() Limits {
	return Limits{
		Streams:      20_000,
		StreamsOfOne: 10_000,
		Names:        100_000,
		HeldBytes:    1 << 30,
		QueuedBytes:  256 << 20,
		NameBytes:    1024,
		Requests:     1000,
		Types:        64, // istiod asks another one for its thirty kinds
		FrameBytes:   3 << 20,
		SendTimeout:  20 * time.Second,
		HelloTimeout: 30 * time.Second,
		Admitted:     8,
		AdmittedFor:  2 * time.Second,
		AdmittedIdle: 300 * time.Millisecond,
	}
}

func (l Limits) withDefaults() Limits {
	d := Default()
	setDefault(&l.Streams, d.Streams)
	setDefault(&l.StreamsOfOne, d.StreamsOfOne)
	setDefault(&l.Names, d.Names)
	setDefault(&l.HeldBytes, d.HeldBytes)
	setDefault(&l.QueuedBytes, d.QueuedBytes)
	setDefault(&l.NameBytes, d.NameBytes)
	setDefault(&l.Requests, d.Requests)
	setDefault(&l.Types, d.Types)
	setDefault(&l.FrameBytes, d.FrameBytes)
	setDefault(&l.SendTimeout, d.SendTimeout)
	setDefault(&l.HelloTimeout, d.HelloTimeout)
	setDefault(&l.Admitted, d.Admitted)
	setDefault(&l.AdmittedFor, d.AdmittedFor)
	setDefault(&l.AdmittedIdle, d.AdmittedIdle)
	return l
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
