package http2

import (
	"encoding/binary"
	"time"
)

// limit counts frames that cost work and bring nothing, which is how floods
// are made of: see Config.
func (r *reader) limit(f *frame) error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.limitLocked(f)
}

func (r *reader) limitLocked(f *frame) error {
	cfg := &r.c.cfg
	switch f.typ {
	case frameData, frameHeaders, frameContinuation:
		if len(f.payload) > 0 || f.has(flagEndStream) {
			r.emptyRun = 0
		} else if r.emptyRun++; r.emptyRun > cfg.MaxEmptyFrames {
			return connError(EnhanceYourCalm, "too many empty frames")
		}
		if f.typ == frameHeaders {
			r.opened++
			r.calm(noisePerStream)
		}
		if f.typ == frameData && len(f.payload) > 0 {
			r.calm(1)
		}
	case framePing, frameSettings:
		if r.noise++; r.noise > cfg.MaxPings {
			return connError(EnhanceYourCalm, "too many frames of type %d", f.typ)
		}
	case framePriority:
		if r.priorities++; r.priorities > uint64(cfg.MaxPriorities)*(1+r.opened) {
			return connError(EnhanceYourCalm, "too many PRIORITY frames")
		}
	case frameWindowUpdate:
		if r.updates++; r.updates > moreUpdates+2*(r.opened+uint64(cfg.MaxWindowUpdates)*r.sent) {
			return connError(EnhanceYourCalm, "too many WINDOW_UPDATE frames")
		}
	}
	if r.c.control > cfg.MaxControlFrames || r.c.control+r.c.heads > cfg.MaxFrames {
		return connError(EnhanceYourCalm, "the peer does not read our answers")
	}
	return nil
}

// tooManyResets counts a stream that the peer has reset, or made a fault in, and tells whether that is one too many.
func (c *Conn) tooManyResets() bool {
	now := time.Now()
	if c.refusedBy > 0 {
		c.refusedBy = max(0, c.refusedBy-now.Sub(c.refusedAt).Seconds()*float64(c.cfg.ResetRate))
	}
	c.refusedAt = now
	c.refusedBy++
	return c.refusedBy > float64(c.cfg.MaxResets)
}

// calm takes noise back for something useful that the peer has sent.
func (r *reader) calm(n int) {
	if r.noise > 0 {
		r.noise = max(0, r.noise-n)
	}
}

// allowAnswers lets the peer answer a DATA frame of n bytes that we send with WINDOW_UPDATEs, of which one that reads it in
// pieces sends several, for the stream and for the connection. A frame that is longer than usual counts as several.
func (r *reader) allowAnswers(n int) { r.sent += 1 + uint64(n)/(minMaxFrameSize+1) }

const (
	// noisePerStream is how many PING and SETTINGS frames each stream earns its peer.
	noisePerStream = 20
	// moreUpdates is how many WINDOW_UPDATE frames may come beside those that streams and DATA frames allow.
	moreUpdates = 5
)

// strayLocked judges a frame for a stream that is not open: idle is an error
// of the connection, one that we reset a moment ago is none.
func (c *Conn) strayLocked(f *frame, s *Stream) error {
	if s == nil && c.idleStreamLocked(f.stream) {
		return connError(ProtocolError, "a frame for stream %d, which does not exist", f.stream)
	}
	if c.wasResetLocked(f.stream) {
		return nil
	}
	if s != nil {
		return &StreamError{Code: StreamClosed, Reason: "a frame after the end of the message"}
	}
	return connError(StreamClosed, "a frame for stream %d, which is closed", f.stream)
}

// idleStreamLocked says that a stream has never been opened.
func (c *Conn) idleStreamLocked(id uint32) bool {
	ours := (id%2 == 1) != c.server
	if ours {
		return id >= c.nextID
	}
	return id > c.lastID
}

func checkPriority(f *frame) error {
	if f.stream == 0 {
		return connError(ProtocolError, "PRIORITY without a stream")
	}
	if len(f.payload) != 5 {
		return &StreamError{Code: FrameSizeError, Reason: "PRIORITY of a wrong size"}
	}
	return checkDependency(f.stream, f.payload)
}

func checkDependency(stream uint32, p []byte) error {
	if binary.BigEndian.Uint32(p)&maxWindow == stream {
		return &StreamError{Code: ProtocolError, Reason: "a stream depends on itself"}
	}
	return nil
}
