package http2

// ResetHeavy resets streams that hold so many bytes or more, most of them at most, and returns how many it were. What a
// stream holds is what has come and has not been read, or has not gone where it was to go, and what the peer's windows don't
// let out.
func (c *Conn) ResetHeavy(bytes int64, most int) int {
	n := 0
	c.mu.Lock()
	for _, s := range c.streams {
		if n == most {
			break
		}
		if int64(s.held+len(s.data)-s.off+s.queued()) >= bytes {
			c.resetLocked(s, EnhanceYourCalm, errHeavy)
			if s.receiver == nil { // whoever reads may not come to it for long
				c.releaseLocked(len(s.data) - s.off)
				s.data, s.off = nil, 0
			}
			n++
		}
	}
	c.mu.Unlock()
	if n > 0 {
		c.wake()
	}
	return n
}

// errHeavy is why ResetHeavy has reset a stream.
var errHeavy = &StreamError{Code: EnhanceYourCalm, Reason: "it held too much memory while there was little"}
