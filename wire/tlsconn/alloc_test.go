//go:build !race

package tlsconn

import (
	"testing"

	"lateen.dev/lateen/wire/sock"
	"lateen.dev/lateen/wire/sock/socktest"
)

// TestExchangeAllocations holds an encrypted exchange, both sides together, to what crypto/tls itself needs: a small
// reader each time that it looks for a record. The race detector makes pools forget, so it isn't run with that.
func TestExchangeAllocations(t *testing.T) {
	cl, srv := mutual(t, newAuthority(t))
	near, far := socktest.Pair(t, "tcp")
	var s lines
	done := serveTLS(sock.New(far), srv, &s)
	client := sock.New(near)
	if _, err := cl.Handshake(client); err != nil {
		t.Fatal(err)
	}
	reply, msg := sock.Reply(socktest.Into(make([]byte, 100))), []byte("hello\n")
	exchange := func() {
		if _, err := client.WriteRead(msg, reply); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		exchange()
	}
	if n := testing.AllocsPerRun(500, exchange); n > 3 {
		t.Errorf("%v allocations per exchange", n)
	}
	client.Close()
	<-done
}
