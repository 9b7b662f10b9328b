package hcm

import (
	"testing"

	"lateen.dev/lateen/proxy/exchange"
)

func TestMessagesAreCountedHoweverTheyAreCut(t *testing.T) {
	body := []byte("\x00\x00\x00\x00\x03abc\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01z")
	for size := 1; size <= len(body); size++ {
		var m messages
		for b := body; len(b) > 0; {
			n := min(size, len(b))
			m.feed(exchange.Piece{Data: b[:n]})
			b = b[n:]
		}
		if m.count != 3 {
			t.Errorf("in pieces of %d: %d messages, want 3", size, m.count)
		}
	}
}

func TestUUID(t *testing.T) {
	got := string(appendUUID(nil, 0x0123456789abcdef, 0xfedcba9876543210))
	if want := "01234567-89ab-4def-bedc-ba9876543210"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
