package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Measurements for which a proxy is started anew each time.

const (
	// settleTime is when a proxy that was just started or loaded is looked at.
	settleTime = 3 * time.Second
	// idleConnections are opened at once; each has had one answer.
	idleConnections = 4000
)

// measureIdle is the resident memory that a connection adds which waits for
// its next request.
func measureIdle(mtls bool) func(context.Context, *bench, candidate) (sample, error) {
	return func(ctx context.Context, b *bench, c candidate) (sample, error) {
		p, err := b.start(ctx, c.peer, small)
		if err != nil {
			return nil, err
		}
		defer p.stop()
		if err := pause(ctx, settleTime); err != nil {
			return nil, err
		}
		before, err := p.usage()
		if err != nil {
			return nil, err
		}
		l := &load{address: p.plain}
		if mtls {
			l.address, l.tls = p.mtls, b.dir.clientTLS(hybrid)
		}
		clients, err := l.dial(ctx, idleConnections)
		defer hangUp(clients)
		if err != nil {
			return nil, err
		}
		if err := pause(ctx, settleTime); err != nil {
			return nil, err
		}
		after, err := p.usage()
		if err != nil {
			return nil, err
		}
		return sample{connKiB: float64(after.rss-before.rss) / 1024 / idleConnections, rssMiB: float64(after.rss) / (1 << 20)}, nil
	}
}

// measureStart is how long a proxy takes from exec until it says that it is
// ready, and what it holds in memory when it has come to rest.
func measureStart(ctx context.Context, b *bench, c candidate) (sample, error) {
	p, err := b.start(ctx, c.peer, large)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	started, err := p.usage()
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, settleTime); err != nil {
		return nil, err
	}
	u, err := p.usage()
	if err != nil {
		return nil, err
	}
	return sample{readyMillis: float64(p.readyAfter.Microseconds()) / 1000, startMillis: float64(started.cpu.Milliseconds()), rssMiB: float64(u.rss) / (1 << 20)}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// allocations asks the proxy how many objects it has made since it started.
func (p *peer) allocations(ctx context.Context) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/memory", http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("allocations: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("allocations: %w", err)
	}
	defer resp.Body.Close()
	var m struct {
		Mallocs string `json:"mallocs"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		return 0, fmt.Errorf("allocations: %w", err)
	}
	n, err := strconv.ParseFloat(m.Mallocs, 64)
	if err != nil {
		return 0, fmt.Errorf("allocations: %w", err)
	}
	return n, nil
}
