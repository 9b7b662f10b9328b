package http2

import "encoding/binary"

// frameType is the type of a frame.
type frameType uint8

const (
	frameData         frameType = 0x0
	frameHeaders      frameType = 0x1
	framePriority     frameType = 0x2
	frameRSTStream    frameType = 0x3
	frameSettings     frameType = 0x4
	framePushPromise  frameType = 0x5
	framePing         frameType = 0x6
	frameGoAway       frameType = 0x7
	frameWindowUpdate frameType = 0x8
	frameContinuation frameType = 0x9
)

const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	frameHeaderLen = 9
	// minMaxFrameSize is the frame size that every endpoint must accept.
	minMaxFrameSize = 1 << 14
	maxMaxFrameSize = 1<<24 - 1
	maxWindow       = 1<<31 - 1
	// initialWindow is the flow control window before any SETTINGS.
	initialWindow = 65535
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Preface is what a client sends first.
const Preface = preface

// frame is a received frame; payload and whole, which has the header, too, are views into the read buffer.
type frame struct {
	typ     frameType
	flags   uint8
	stream  uint32
	payload []byte
	whole   []byte
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// parseFrame reads one frame off b. complete is false when b holds only a part
// of it; the size is checked as soon as the header is there.
func parseFrame(b []byte, maxSize int) (f frame, size int, complete bool, err error) {
	if len(b) < frameHeaderLen {
		return frame{}, 0, false, nil
	}
	n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	if n > maxSize {
		return frame{}, 0, false, connError(FrameSizeError, "a frame of %d bytes; at most %d are accepted", n, maxSize)
	}
	if len(b) < frameHeaderLen+n {
		return frame{}, 0, false, nil
	}
	f = frame{typ: frameType(b[3]), flags: b[4], stream: binary.BigEndian.Uint32(b[5:]) & maxWindow,
		payload: b[frameHeaderLen : frameHeaderLen+n], whole: b[:frameHeaderLen+n]}
	return f, frameHeaderLen + n, true, nil
}

// unpad strips the padding of DATA and HEADERS (RFC 9113 section 6.1).
func (f *frame) unpad() error {
	if !f.has(flagPadded) {
		return nil
	}
	if len(f.payload) < 1 {
		return connError(FrameSizeError, "a padded frame without its padding's length")
	}
	padding := int(f.payload[0])
	if padding >= len(f.payload) {
		return connError(ProtocolError, "a frame with more padding than payload")
	}
	f.payload = f.payload[1 : len(f.payload)-padding]
	return nil
}

func appendFrameHeader(dst []byte, size int, typ frameType, flags uint8, stream uint32) []byte {
	return append(dst, byte(size>>16), byte(size>>8), byte(size), byte(typ), flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendWindowUpdate(dst []byte, stream, n uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(dst, 4, frameWindowUpdate, 0, stream), n)
}

func appendReset(dst []byte, stream uint32, code ErrCode) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHeader(dst, 4, frameRSTStream, 0, stream), uint32(code))
}

func appendGoAway(dst []byte, last uint32, code ErrCode, reason string) []byte {
	reason = reason[:min(len(reason), 256)]
	dst = appendFrameHeader(dst, 8+len(reason), frameGoAway, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	return append(dst, reason...)
}

// settingID names a setting of RFC 9113 section 6.5.2 and RFC 8441.
type settingID uint16

const (
	settingHeaderTableSize      settingID = 0x1
	settingEnablePush           settingID = 0x2
	settingMaxConcurrentStreams settingID = 0x3
	settingInitialWindowSize    settingID = 0x4
	settingMaxFrameSize         settingID = 0x5
	settingMaxHeaderListSize    settingID = 0x6
	settingEnableConnect        settingID = 0x8
)

func appendSetting(dst []byte, id settingID, v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(dst, uint16(id)), v)
}
