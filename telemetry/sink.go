package telemetry

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxSinkBuffer bounds what a sink holds while its file doesn't take it.
const maxSinkBuffer = 1 << 20

// FileSink gathers rendered lines and writes them to a file from a goroutine
// of its own, so that a slow disk or terminal never holds up a request. When
// the buffer is full lines are dropped and counted.
type FileSink struct {
	out     io.Writer
	close   func() error
	dropped atomic.Int64
	wake    chan struct{}
	done    chan struct{}
	cancel  context.CancelFunc

	mu     sync.Mutex // guards buf
	buf    []byte
	failed error // the last write error, for Err
}

// OpenFileSink opens path for appending; /dev/stdout and /dev/stderr are the
// process's own. interval is how long a line may wait before it is written.
// The caller ends the sink with Close.
func OpenFileSink(path string, interval time.Duration) (*FileSink, error) {
	switch path {
	case "/dev/stdout":
		return NewSink(os.Stdout, nil, interval), nil
	case "/dev/stderr":
		return NewSink(os.Stderr, nil, interval), nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return NewSink(f, f.Close, interval), nil
}

// NewSink returns a sink that writes to out, and calls closeOut (if not nil)
// when it is closed.
func NewSink(out io.Writer, closeOut func() error, interval time.Duration) *FileSink {
	ctx, cancel := context.WithCancel(context.Background())
	s := &FileSink{out: out, close: closeOut, wake: make(chan struct{}, 1), done: make(chan struct{}), cancel: cancel}
	go s.run(ctx, interval)
	return s
}

// Write takes a line, or counts it as dropped. It never blocks on the file.
func (s *FileSink) Write(line []byte) {
	s.mu.Lock()
	fits := len(s.buf)+len(line) <= maxSinkBuffer
	first := len(s.buf) == 0
	if fits {
		s.buf = append(s.buf, line...)
	}
	s.mu.Unlock()
	if !fits {
		s.dropped.Add(1)
		return
	}
	if first {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// Dropped is how many lines did not fit.
func (s *FileSink) Dropped() int64 { return s.dropped.Load() }

// Close writes what is left, and closes the file.
func (s *FileSink) Close() error {
	s.cancel()
	<-s.done
	s.mu.Lock()
	err := s.failed
	s.mu.Unlock()
	if s.close != nil {
		if cerr := s.close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	return nil
}

func (s *FileSink) run(ctx context.Context, interval time.Duration) {
	defer close(s.done)
	var spare []byte
	for {
		select {
		case <-ctx.Done():
			s.flush(spare)
			return
		case <-s.wake:
		}
		select { // let more lines gather: one write for all of them
		case <-ctx.Done():
		case <-time.After(interval):
		}
		spare = s.flush(spare)
	}
}

// flush writes the buffer and returns it for reuse; spare takes its place.
func (s *FileSink) flush(spare []byte) []byte {
	s.mu.Lock()
	b := s.buf
	s.buf = spare[:0]
	s.mu.Unlock()
	if len(b) == 0 {
		return b
	}
	if _, err := s.out.Write(b); err != nil {
		s.mu.Lock()
		s.failed = err
		s.mu.Unlock()
	}
	return b
}
