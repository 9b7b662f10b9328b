package http2

import (
	"bufio"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// calm floods our server with what write writes and returns how many frames it took until the connection was closed, or
// times if it wasn't.
func calm(t *testing.T, cfg Config, times int, write func(fr *http2.Framer, i uint32) error) int {
	t.Helper()
	cfg.Linger = time.Second
	conn, _, _ := serve(t, cfg, func(s *Stream) { s.Read(make([]byte, 1)) }) //nolint:errcheck // it stays until it is reset
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, preface); err != nil {
		t.Fatal(err)
	}
	fr := http2.NewFramer(conn, bufio.NewReader(conn))
	fr.AllowIllegalWrites = true
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for i := range times {
		// Each is answered before the next one, so that it is clear which was too many.
		if write(fr, uint32(i)) != nil || fr.WritePing(false, [8]byte{1}) != nil {
			return i
		}
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				if g.ErrCode != http2.ErrCodeEnhanceYourCalm {
					t.Errorf("the connection ends with %v", g.ErrCode)
				}
				return i
			}
			if p, ok := f.(*http2.PingFrame); ok && p.IsAck() {
				break
			}
		}
	}
	return times
}

// TestEnvoysFrameLimits counts as Envoy's fields of the same meaning say.
func TestEnvoysFrameLimits(t *testing.T) {
	post := []byte{0x83, 0x86, 0x84, 0x41, 1, 'a'}
	headers := func(fr *http2.Framer, id uint32) error {
		return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: post, EndHeaders: true})
	}
	const room = 10_000 // for PINGs
	for name, tc := range map[string]struct {
		cfg   Config
		write func(fr *http2.Framer, i uint32) error
		want  int
	}{
		"PRIORITY": {Config{MaxPriorities: 7, MaxPings: room}, func(fr *http2.Framer, i uint32) error {
			return fr.WritePriority(2*i+1, http2.PriorityParam{Weight: 1})
		}, 7},
		"no PRIORITY at all": {Config{MaxPriorities: -1, MaxPings: room}, func(fr *http2.Framer, i uint32) error {
			return fr.WritePriority(2*i+1, http2.PriorityParam{Weight: 1})
		}, 0},
		"WINDOW_UPDATE": {Config{MaxPings: room}, func(fr *http2.Framer, _ uint32) error { return fr.WriteWindowUpdate(0, 1) }, moreUpdates},
		"PING":          {Config{MaxPings: 20}, func(*http2.Framer, uint32) error { return nil }, 19},
		"faulty streams": {Config{MaxPings: room, MaxResets: 9, ResetRate: 1}, func(fr *http2.Framer, i uint32) error {
			if err := headers(fr, 2*i+1); err != nil {
				return err
			}
			return fr.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		}, 9},
		"empty DATA": {Config{MaxPings: room, MaxEmptyFrames: 3}, func(fr *http2.Framer, i uint32) error {
			if i == 0 {
				return headers(fr, 1)
			}
			return fr.WriteDataPadded(1, false, nil, make([]byte, 5))
		}, 4},
		"an empty frame": {Config{MaxPings: room, MaxEmptyFrames: -1}, func(fr *http2.Framer, i uint32) error {
			if i == 0 {
				return headers(fr, 1)
			}
			return fr.WriteData(1, false, nil)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := calm(t, tc.cfg, 200, tc.write); got != tc.want {
				t.Errorf("closed after %d, want %d", got, tc.want)
			}
		})
	}
}

// TestResetsAreForgiven: what a client resets now and then is no flood, however long it goes on.
func TestResetsAreForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Conn{cfg: Config{MaxResets: 10, ResetRate: 2}.withDefaults()}
		for range 1000 {
			if c.tooManyResets() {
				t.Fatal("two resets a second are too many")
			}
			time.Sleep(500 * time.Millisecond)
		}
		for i := range 10 {
			if c.tooManyResets() {
				t.Fatalf("%d at once are too many", i)
			}
		}
		if !c.tooManyResets() {
			t.Error("no limit")
		}
	})
}

// TestHeaderTable: a peer is told the size of the table, and may use it.
func TestHeaderTable(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		want uint32
		told bool
	}{"usual": {Config{}, 0, false}, "small": {Config{HeaderTable: 100}, 100, true}, "large": {Config{HeaderTable: 1 << 30}, maxTableSize, true},
		"none": {Config{NoHeaderTable: true}, 0, true}} {
		t.Run(name, func(t *testing.T) {
			conn, _, _ := serve(t, tc.cfg, echo)
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			f, err := http2.NewFramer(nil, conn).ReadFrame()
			s, ok := f.(*http2.SettingsFrame)
			if err != nil || !ok {
				t.Fatal(f, err)
			}
			if got, told := s.Value(http2.SettingHeaderTableSize); told != tc.told || got != tc.want {
				t.Errorf("the peer is told %d, %v", got, told)
			}
		})
	}
}

// TestFramesThatWait: of a peer that doesn't read frames wait up to the limit, beyond which bodies have to.
func TestFramesThatWait(t *testing.T) {
	mine, theirs := net.Pipe()
	c := NewServer(theirs, Config{MaxFrames: 50}, nil)
	c.peer.initialWindow = 1 << 20
	s := newStream(c, 1)
	s.sendWindow, c.sendWindow = 1<<20, 1<<20
	c.mu.Lock()
	defer c.mu.Unlock()
	defer mine.Close()
	sent := 0
	for range 100 {
		if rest, _ := s.sendLocked([]byte("x"), false); len(rest) == 0 {
			sent++
		}
	}
	if sent != 50 || !c.full {
		t.Errorf("%d frames wait, %v", sent, c.full)
	}
}
