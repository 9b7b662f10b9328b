package hcm

import (
	"log/slog"
	"strings"
	"testing"

	"lateen.dev/lateen/wire/http2"
)

// TestPanicsOfRelaysAreContained: what goes wrong with one stream doesn't end the reader of a connection, nor keep the
// stream locked.
func TestPanicsOfRelaysAreContained(t *testing.T) {
	var log strings.Builder
	e := &Engine{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	up, down := new(http2.Stream), new(http2.Stream)
	var b http2.Batch
	for name, call := range map[string]func(*stream){
		"the server has opened its window": func(s *stream) { s.relay.up = up; (*fromServer)(s).Sent(&b, up, 1) },
		"a part of the answer":             func(s *stream) { s.relay.up = up; (*fromServer)(s).ReceiveData(&b, up, []byte("x"), false) },
		"the client has opened its window": func(s *stream) { s.relay.up, s.relay.down = up, down; (*fromClient)(s).Sent(&b, down, 1) },
		"a part of the request":            func(s *stream) { s.relay.down = down; (*fromClient)(s).ReceiveData(&b, down, []byte("x"), false) },
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			s := &stream{m: &Manager{engine: e}} // without what the call needs
			call(s)
			if !strings.Contains(log.String(), "panic while serving") {
				t.Errorf("no panic was noted: %s", log.String())
			}
			if !s.relay.mu.TryLock() {
				t.Error("the relay is still locked")
			}
		})
	}
}
