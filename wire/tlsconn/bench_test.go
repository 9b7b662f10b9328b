package tlsconn

import (
	"testing"
	"time"

	"lateen.dev/lateen/wire/sock"
	"lateen.dev/lateen/wire/sock/socktest"
)

func BenchmarkMutualHandshake(b *testing.B) {
	for name, sessions := range map[string]int{"full": 0, "resumed": 16} {
		b.Run(name, func(b *testing.B) {
			ca := newAuthority(b)
			cl := mustClient(b, ClientOptions{
				Options:  Options{Verifier: ca.verifier()},
				Sessions: sessions, Certificate: clientCert(ca.leaf(idA, "", time.Hour)),
			})
			srv := mustServer(b, ServerOptions{
				Options:     Options{Verifier: ca.verifier()},
				Certificate: serverCert(ca.leaf(idB, "", time.Hour)), Tickets: NewTickets(0),
			})
			for b.Loop() {
				near, far := socktest.Pair(b, "tcp")
				client, server := sock.New(near), sock.New(far)
				var s lines
				done := serveTLS(server, srv, &s)
				if _, err := cl.Handshake(client); err != nil {
					b.Fatal(err)
				}
				client.Close()
				<-done
			}
		})
	}
}
