package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// handshakeKind is what the handshakes of a load are like.
type handshakeKind struct {
	// strangers: each client is one that the proxy doesn't remember.
	strangers bool
	// resume: sessions are resumed; a full handshake fails the load.
	resume bool
	curve  curve
}

// loadHandshakes opens mutual TLS connections, makes one request on each and closes them.
type loadHandshakes struct {
	address  string
	tls      *tls.Config
	resume   bool
	parallel int
	duration time.Duration

	unseen []tls.Certificate
	next   *atomic.Int64
}

// parallelHandshakes is how many clients come at a time.
const parallelHandshakes = 8

// handshakes is a load of handshakes.
func handshakes(k handshakeKind) func(*bench, *peer) (loader, error) {
	var next atomic.Int64 // goes on where the last round has ended
	return func(b *bench, p *peer) (loader, error) {
		l := &loadHandshakes{address: p.mtls, tls: b.dir.clientTLS(k.curve), resume: k.resume, parallel: parallelHandshakes, duration: b.o.duration, next: &next}
		if k.resume {
			l.tls.SessionTicketsDisabled = false
			l.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		if k.strangers {
			var err error
			if l.unseen, err = b.dir.unseen(); err != nil {
				return nil, err
			}
		}
		return l, nil
	}
}

func (l *loadHandshakes) run(ctx context.Context, warm func()) (*loadResult, error) {
	if err := l.handshake(ctx, false); err != nil {
		return nil, err
	}
	warm()
	start := time.Now()
	end := start.Add(l.duration)
	took := make([][]time.Duration, l.parallel)
	errs := make([]error, l.parallel)
	var wg sync.WaitGroup
	for i := range l.parallel {
		wg.Go(func() {
			for began := time.Now(); errs[i] == nil && began.Before(end); began = time.Now() {
				errs[i] = l.handshake(ctx, l.resume)
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	r := &loadResult{elapsed: time.Since(start)}
	for _, t := range took {
		r.latencies = append(r.latencies, t...)
	}
	r.requests = len(r.latencies)
	return r, errors.Join(errs...)
}

// handshake makes a connection and one request, so that a refusal of the client's certificate, which TLS 1.3 tells
// late, is seen, and so that the server's ticket is read.
func (l *loadHandshakes) handshake(ctx context.Context, resumed bool) error {
	config := l.tls
	if len(l.unseen) > 0 {
		config = config.Clone()
		i := l.next.Add(1) % int64(len(l.unseen))
		config.Certificates = l.unseen[i : i+1]
	}
	c, err := dialClient(ctx, l.address, config)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.exchange(); err != nil {
		return err
	}
	if state := c.conn.(*tls.Conn).ConnectionState(); state.DidResume != resumed {
		return fmt.Errorf("handshake: resumed is %v, but should be %v", state.DidResume, resumed)
	}
	return nil
}
