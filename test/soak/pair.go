package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"lateen.dev/lateen/test/traffic"
)

// pair is two proxies without a control plane, one behind the other, with their servers and clients. This program brings
// them their configuration and their secrets.
type pair struct {
	layout layout
	good   []*traffic.Backend
	faulty *traffic.Backend
	served atomic.Uint64 // by the faulty one

	client, server *child
	trust          *trust
	visitor        visitor

	mix   []named
	loads []*traffic.Load
	began time.Time
	last  [2]sample
}

func newPair(options) (*pair, error) {
	p := &pair{}
	p.visitor.sessions = tls.NewLRUClientSessionCache(16)
	for range 3 {
		b, err := traffic.Serve(nil)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.good = append(p.good, b)
		p.layout.Good = append(p.layout.Good, b.HTTP)
	}
	p.layout.GoodTCP = p.good[0].TCP
	var err error
	if p.faulty, err = traffic.Serve(p.fail); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.layout.Faulty = p.faulty.HTTP
	l := &p.layout
	for _, port := range []*int{&l.HTTP, &l.TCP, &l.Nobody, &l.HopHTTP, &l.Hop2, &l.HopTCP, &l.MTLS, &l.TCPTLS} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("free port: %w", err), p.close())
		}
		defer ln.Close()
		if a, ok := ln.Addr().(*net.TCPAddr); ok {
			*port = a.Port
		}
	}
	if p.trust, err = newTrust(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.mix = p.plan()
	return p, nil
}

// plan are the loads. The faulty ones go to servers that fail.
func (p *pair) plan() []named {
	l := &p.layout
	plain := func(k traffic.Kind, port, workers int, what, path string) named {
		o := named{traffic.Options{Kind: k, Dial: traffic.Dialer(port), Workers: workers, Path: path}, what}
		if path == "/faulty" {
			o.Explain = explain
		}
		return o
	}
	direct := func(k traffic.Kind, port int, what string, resume bool, alpn ...string) named {
		dial := traffic.TLSDialer(port, func() *tls.Config { return p.visitor.config(what, resume, alpn...) }, p.visitor.met)
		return named{traffic.Options{Kind: k, Dial: dial, Workers: 2}, what}
	}
	return []named{
		plain(traffic.HTTP1, l.HTTP, 4, "", ""), plain(traffic.HTTP1Fresh, l.HTTP, 2, "", ""), plain(traffic.Upload, l.HTTP, 2, "", ""),
		plain(traffic.HTTP2, l.HTTP, 8, "", ""), plain(traffic.TCP, l.TCP, 2, "", ""), plain(traffic.TCPLong, l.TCP, 2, "", ""),
		plain(traffic.HTTP1, l.HTTP, 2, "", "/faulty"), plain(traffic.HTTP2, l.HTTP, 2, "", "/faulty"),
		plain(traffic.HTTP1, l.HopHTTP, 4, "hop", ""), plain(traffic.HTTP1Fresh, l.HopHTTP, 2, "hop", ""), plain(traffic.HTTP2, l.Hop2, 4, "hop", ""),
		plain(traffic.Upload, l.Hop2, 2, "hop, HTTP/2 between the proxies", ""), plain(traffic.HTTP2, l.HopHTTP, 2, "hop, HTTP/1.1 between the proxies", ""),
		plain(traffic.TCP, l.HopTCP, 2, "hop", ""), plain(traffic.TCPLong, l.HopTCP, 2, "hop", ""),
		plain(traffic.HTTP1, l.HopHTTP, 2, "hop", "/faulty"), plain(traffic.HTTP2, l.Hop2, 2, "hop", "/faulty"),
		direct(traffic.HTTP1Fresh, l.MTLS, "mTLS, full handshakes", false, "http/1.1"), direct(traffic.HTTP1Fresh, l.MTLS, "mTLS, resumed", true, "http/1.1"),
		direct(traffic.HTTP2, l.MTLS, "mTLS", true, "h2"), direct(traffic.TCP, l.TCPTLS, "mTLS, resumed", true), direct(traffic.TCPLong, l.TCPTLS, "mTLS", true),
	}
}

// start starts the proxies' processes.
func (p *pair) start(context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	side := func(what string, l layout) (*child, error) {
		text, err := json.Marshal(l)
		if err != nil {
			return nil, fmt.Errorf("proxy: %w", err)
		}
		return startChild(what, exec.Command(self, "-"+proxyFlag, string(text)))
	}
	l := p.layout
	if p.client, err = side("the client's side", l); err != nil {
		return err
	}
	l.Server = true
	if p.server, err = side("the server's side", l); err != nil {
		return err
	}
	if err := p.swap(); err != nil {
		return err
	}
	list, err := p.samples(context.Background(), true)
	for _, s := range list {
		if s.Error != "" {
			err = errors.Join(err, errors.New(s.Error))
		}
	}
	return err
}

// swap gives everybody new secrets.
func (p *pair) swap() error {
	for name, to := range map[string]*child{"client": p.client, "server": p.server} {
		s, err := p.trust.secrets(name)
		if err != nil {
			return err
		}
		text, err := json.Marshal(s)
		if err == nil {
			err = to.tell(askSwap + string(text))
		}
		if err != nil {
			return fmt.Errorf("secrets of %s: %w", to.what, err)
		}
	}
	s, err := p.trust.secrets("visitor")
	if err != nil {
		return err
	}
	return p.visitor.swap(&s)
}

func (p *pair) tell(line string) error { return errors.Join(p.client.tell(line), p.server.tell(line)) }

func (p *pair) begin(rates []float64, share float64) error {
	p.began = time.Now()
	p.loads = paced(p.mix, rates, share)
	return nil
}

func (p *pair) end() ([]outcome, error) {
	list := stop(p.mix, p.loads, p.began)
	if full, resumed := p.visitor.handshakes(); full == 0 || resumed == 0 {
		return list, fmt.Errorf("%d full handshakes and %d resumed ones have been made, but both were to be", full, resumed)
	}
	return list, nil
}

// Between two exchanges of certificates: so long a handshake may take.
const swapMin, swapMax = 1500 * time.Millisecond, 8 * time.Second

// trouble implements part.
func (p *pair) trouble(ctx context.Context, d time.Duration) error {
	if err := p.tell(askChurn); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, a := range p.attacks() {
		wg.Go(func() {
			for ctx.Err() == nil {
				a(ctx)
				sleep(ctx, 50*time.Millisecond)
			}
		})
	}
	for every := min(max(d/12, swapMin), swapMax); ctx.Err() == nil; sleep(ctx, every) {
		if err := errors.Join(p.trust.step(), p.swap()); err != nil {
			return err
		}
	}
	return p.tell(askCalm)
}

// samples implements part.
func (p *pair) samples(context.Context, bool) ([]sample, error) {
	for i, c := range []*child{p.client, p.server} {
		p.last[i] = sample{}
		if err := c.ask(askSample, &p.last[i]); err != nil {
			return nil, err
		}
	}
	return p.last[:], nil
}

func (p *pair) note() string {
	full, resumed := p.visitor.handshakes()
	return fmt.Sprintf("changes of configuration at each proxy of the pair: %d; of certificates: %d, and %d times of the root\n"+
		"mTLS handshakes with the pair: %d full and %d resumed ones with clients, %d between the proxies; %d failed at the client's side, %d at the server's",
		p.last[0].Updates, p.trust.steps, p.trust.exchanged, full, resumed, p.last[0].Handshakes, p.last[0].HandshakesFailed, p.last[1].HandshakesFailed)
}

// close ends everything.
func (p *pair) close() error {
	err := errors.Join(p.client.close(), p.server.close())
	for _, b := range p.good {
		b.Close()
	}
	if p.faulty != nil {
		p.faulty.Close()
	}
	return err
}
