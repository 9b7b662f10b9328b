package http2

import (
	"errors"
	"fmt"
)

// ErrCode is an error code of RFC 9113 section 7.
type ErrCode uint32

// The error codes.
const (
	NoError            ErrCode = 0x0
	ProtocolError      ErrCode = 0x1
	InternalError      ErrCode = 0x2
	FlowControlError   ErrCode = 0x3
	SettingsTimeout    ErrCode = 0x4
	StreamClosed       ErrCode = 0x5
	FrameSizeError     ErrCode = 0x6
	RefusedStream      ErrCode = 0x7
	Cancel             ErrCode = 0x8
	CompressionError   ErrCode = 0x9
	ConnectError       ErrCode = 0xa
	EnhanceYourCalm    ErrCode = 0xb
	InadequateSecurity ErrCode = 0xc
	HTTP11Required     ErrCode = 0xd
)

var errCodeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// String returns the code's name in the RFC.
func (c ErrCode) String() string {
	if int(c) < len(errCodeNames) {
		return errCodeNames[c]
	}
	return fmt.Sprintf("code %#x", uint32(c))
}

// ConnError ends a connection: sent as GOAWAY when we found the fault, or
// received as one.
type ConnError struct {
	Code   ErrCode
	Reason string
	// Remote says that the peer ended it.
	Remote bool
}

// Error implements error.
func (e *ConnError) Error() string {
	who := "http2 connection"
	if e.Remote {
		who = "http2 connection ended by the peer"
	}
	return fmt.Sprintf("%s: %s: %s", who, e.Code, e.Reason)
}

// StreamError ends one stream: RST_STREAM sent, or received.
type StreamError struct {
	Code   ErrCode
	Reason string
	// Remote says that the peer reset it.
	Remote bool
}

// Error implements error.
func (e *StreamError) Error() string {
	if e.Remote {
		return fmt.Sprintf("http2 stream reset by the peer: %s", e.Code)
	}
	return fmt.Sprintf("http2 stream: %s: %s", e.Code, e.Reason)
}

// ErrRefused is why Open gives no stream: the connection drains, is closed, or
// has as many streams as the peer allows. Nothing was sent; the request can go
// to another connection.
var ErrRefused = errors.New("http2 connection takes no new stream")

func connError(code ErrCode, format string, args ...any) error {
	return &ConnError{Code: code, Reason: fmt.Sprintf(format, args...)}
}
