package http2

import "encoding/binary"

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
			r.calm(noisePerStream)
		}
		if f.typ == frameData && len(f.payload) > 0 {
			r.calm(1)
		}
	case framePing, frameSettings, framePriority, frameWindowUpdate:
		if r.noise++; r.noise > cfg.MaxPings {
			return connError(EnhanceYourCalm, "too many frames of type %d", f.typ)
		}
	}
	if r.c.control > cfg.MaxControlFrames {
		return connError(EnhanceYourCalm, "the peer does not read our answers")
	}
	return nil
}

// calm takes noise back for something useful that the peer has sent.
func (r *reader) calm(n int) {
	if r.noise > 0 {
		r.noise = max(0, r.noise-n)
	}
}

// allowAnswers lets the peer answer a DATA frame that we send with WINDOW_UPDATEs. It may do so later, when its reader
// comes to it, so what it earns is kept, as far as a large window's frames go.
func (r *reader) allowAnswers() { r.noise = max(r.noise-noisePerData, -maxAnswers) }

// noisePerStream is how many control frames each stream earns its peer, and noisePerData what each DATA frame that we
// send does, which is Envoy's max_inbound_window_update_frames_per_data_frame_sent: a peer that reads it in pieces
// sends several, for the stream and for the connection.
const (
	noisePerStream = 20
	noisePerData   = 10
	maxAnswers     = 1 << 16
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
