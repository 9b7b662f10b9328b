package upstream

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// Dial opens a connection to one of the cluster's hosts for what the proxy itself asks, such as discovery, TLS and all.
// alpn is offered where the cluster's TLS context names none. ctx and the cluster's connect timeout bound it.
func (c *Cluster) Dial(ctx context.Context, alpn ...string) (net.Conn, error) {
	h := c.Pick(&Choice{})
	if h == nil {
		return nil, fmt.Errorf("cluster %s has no host that can be used", c.Name)
	}
	o := &ConnectOptions{}
	if t := c.Config().TLSFor(h.Endpoint()); t != nil && len(t.ALPN) == 0 {
		o.ALPN = alpn
	}
	l, err := h.Connect(ctx, o)
	if err != nil {
		h.Report(0, true)
		return nil, fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	return &netConn{link: l, end: l.Release}, nil
}

// netConn is a link as the net package's connection. Deadlines do nothing: whoever gives up closes it.
type netConn struct {
	link *Link
	end  func()
	once sync.Once
}

func (c *netConn) Read(p []byte) (int, error)  { return c.link.Conn.Read(p) }
func (c *netConn) Write(p []byte) (int, error) { return c.link.Conn.Write(p) }
func (c *netConn) LocalAddr() net.Addr         { return c.link.Conn.LocalAddr() }
func (c *netConn) RemoteAddr() net.Addr        { return c.link.Conn.RemoteAddr() }

func (c *netConn) Close() error {
	c.once.Do(c.end)
	return nil
}

func (c *netConn) SetDeadline(time.Time) error      { return nil }
func (c *netConn) SetReadDeadline(time.Time) error  { return nil }
func (c *netConn) SetWriteDeadline(time.Time) error { return nil }
