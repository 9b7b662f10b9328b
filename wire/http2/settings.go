package http2

import "encoding/binary"

// settings takes the peer's SETTINGS (RFC 9113 section 6.5).
func (r *reader) settings(f *frame) error {
	if f.stream != 0 {
		return connError(ProtocolError, "SETTINGS on a stream")
	}
	if f.has(flagAck) {
		if len(f.payload) != 0 {
			return connError(FrameSizeError, "a SETTINGS acknowledgement with a payload")
		}
		return nil
	}
	if len(f.payload)%6 != 0 {
		return connError(FrameSizeError, "SETTINGS of %d bytes", len(f.payload))
	}
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := f.payload; len(p) > 0; p = p[6:] {
		if err := c.settingLocked(settingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	if !c.peer.received {
		c.peer.received = true
	}
	c.out = appendFrameHeader(c.out, 0, frameSettings, flagAck, 0)
	c.control++
	return nil
}

func (c *Conn) settingLocked(id settingID, v uint32) error {
	switch id {
	case settingHeaderTableSize:
		c.enc.setMax(min(v, tableSize))
	case settingEnablePush:
		if v > 1 || (!c.server && v == 1) {
			return connError(ProtocolError, "ENABLE_PUSH is %d", v)
		}
	case settingMaxConcurrentStreams:
		c.peer.maxStreams = v
	case settingInitialWindowSize:
		if v > maxWindow {
			return connError(FlowControlError, "INITIAL_WINDOW_SIZE is %d", v)
		}
		return c.initialWindowLocked(int64(v))
	case settingMaxFrameSize:
		if v < minMaxFrameSize || v > maxMaxFrameSize {
			return connError(ProtocolError, "MAX_FRAME_SIZE is %d", v)
		}
		c.peer.maxFrame = int(min(v, 64<<10)) // longer frames gain nothing and hold up other streams
	case settingEnableConnect:
		if v > 1 {
			return connError(ProtocolError, "ENABLE_CONNECT_PROTOCOL is %d", v)
		}
		c.peer.extendedHeader = v == 1
	}
	return nil
}

// initialWindowLocked changes every open stream's window by the difference.
func (c *Conn) initialWindowLocked(v int64) error {
	delta := v - c.peer.initialWindow
	c.peer.initialWindow = v
	for _, s := range c.streams {
		if s.sendWindow += delta; s.sendWindow > maxWindow {
			return connError(FlowControlError, "INITIAL_WINDOW_SIZE overflows a stream's window")
		}
	}
	if delta > 0 {
		c.unblockLocked()
	}
	return nil
}
