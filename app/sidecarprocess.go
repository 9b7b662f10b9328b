package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"lateen.dev/lateen/app/dataplane"
	"lateen.dev/lateen/capture"
	"lateen.dev/lateen/lib/handover"
)

// SidecarCommand is the hidden command by which `lateen run` starts a sidecar in a process of its own, and sidecarFD where
// that finds its end of the pair.
const (
	SidecarCommand = "sidecar-process"
	sidecarFD      = 3
)

// cutOffAfter is how long the connections of a faded sidecar have when its program has ended.
const cutOffAfter = 100 * time.Millisecond

// RunSidecar is a sidecar that takes over from the one which a program has, and serves until the program's end, or until
// another one takes over.
func RunSidecar(ctx context.Context) error {
	conn, err := sidecarConn(os.NewFile(sidecarFD, "run"))
	if err != nil {
		return fmt.Errorf("%w; this command is for lateen run", err)
	}
	defer conn.Close()
	var t sidecarTask
	files, err := handover.Receive(conn, &t)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(t.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("sidecar's log: %w", err)
	}
	defer log.Close()
	scopes, err := t.Log.scopes(log)
	if err != nil {
		return err
	}
	api, err := joinAt(t.Dir, t.Away)
	if err != nil {
		return err
	}
	defer api.Close()
	d := &programDialer{conn: conn, waiting: map[uint64]chan dialled{}}
	c, err := t.config(scopes, files, d)
	if err != nil {
		return err
	}
	c.Token = tokenSource(api, &t.Joined, 0)
	sidecar, err := dataplane.Start(ctx, *c)
	if err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	defer sidecar.Close()
	return serveSidecar(ctx, conn, d, sidecar)
}

// serveSidecar takes over, and does what lateen run says, to the end.
func serveSidecar(ctx context.Context, conn *net.UnixConn, d *programDialer, sidecar *dataplane.Proxy) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		defer cancel() // without lateen run there is no program
		for {
			var m sidecarIsTold
			files, err := handover.Receive(conn, &m)
			if err != nil {
				return
			}
			if m.Drain {
				sidecar.BeginDrain()
			}
			d.answered(m, files)
		}
	}()
	defer func() {
		conn.CloseRead() //nolint:errcheck // it may be closed
		<-heard
	}()
	readyCtx, done := context.WithTimeout(ctx, readyTimeout)
	defer done()
	if err := sidecar.WaitReady(readyCtx); err != nil {
		return fmt.Errorf("sidecar is not ready: %w", err)
	}
	relieved := sidecar.TakeOver()
	if err := handover.Send(conn, sidecarAsks{Serving: true}); err != nil {
		return fmt.Errorf("sidecar: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-relieved:
		return sidecar.Fade(ctx, cutOffAfter)
	}
}

// config is the sidecar's, with the sockets that came with the task.
func (t *sidecarTask) config(scopes scopesOf, files []*os.File, d *programDialer) (*dataplane.Config, error) {
	defer func() {
		for _, f := range files {
			f.Close() // what is used are copies
		}
	}()
	t.Joined.away, t.Joined.adminPort, t.Joined.group = t.Away.Control != "", t.AdminPort, t.Away.Group
	c := sidecarConfig(&t.Joined, scopes)
	c.AccessLog = t.LogFile
	c.DrainTime, c.Restart = t.DrainTime, dataplane.RestartOptions{Path: t.Post, Shutdown: t.Shutdown}
	if t.Explicit {
		explicitTraffic(&c, &t.Joined)
		return &c, nil
	}
	c.InterceptionMode, c.DNSCapture, c.DialProgram = "REDIRECT", true, d.dial
	const ofNamespace = 2 // at least
	if len(files) < len(t.Inbound)+ofNamespace {
		return nil, fmt.Errorf("sidecar: %d sockets came", len(files))
	}
	listeners := make([]net.Listener, len(t.Inbound)+ofNamespace)
	for i := range listeners {
		var err error
		if listeners[i], err = net.FileListener(files[i]); err != nil {
			return nil, fmt.Errorf("sidecar's sockets: %w", err)
		}
	}
	for i, dst := range t.Inbound {
		c.Inbound = append(c.Inbound, dataplane.Socket{Listener: listeners[i], OriginalDst: dst})
	}
	c.Outbound = &dataplane.Captured{Listener: listeners[len(t.Inbound)], OriginalDst: capture.OriginalDst}
	c.DNSStreams = listeners[len(t.Inbound)+1]
	for _, f := range files[len(listeners):] {
		packets, err := net.FilePacketConn(f)
		if err != nil {
			return nil, fmt.Errorf("sidecar's DNS sockets: %w", err)
		}
		c.DNSPackets = append(c.DNSPackets, packets)
	}
	return &c, nil
}

// explicitTraffic is how the traffic of a program that isn't captured reaches the sidecar, and back.
func explicitTraffic(c *dataplane.Config, j *joinResponse) {
	c.InterceptionMode = "NONE"
	c.Metadata[metaHTTPProxy] = portText(httpProxyPort)
	c.Metadata[metaBindAddress] = c.Address.String()
	served := map[uint16]uint16{} // by where the sidecar takes connections for it
	for _, port := range j.Workload.Ports {
		served[port.Bound] = port.Number
	}
	c.DialProgram = func(ctx context.Context, port uint16) (net.Conn, error) {
		if number, ok := served[port]; ok {
			port = number
		}
		var d net.Dialer
		return d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", portText(port)))
	}
}

// programSockets are copies of the sockets that belong to a program: its sidecars come and go, and they stay.
type programSockets struct {
	inbound []netip.AddrPort
	fds     []int
}

// keepSockets makes them of what the first sidecar gets.
func keepSockets(c *dataplane.Config) (*programSockets, error) {
	s := &programSockets{}
	var all []any
	for _, in := range c.Inbound {
		s.inbound = append(s.inbound, in.OriginalDst)
		all = append(all, in.Listener)
	}
	if c.Outbound != nil {
		all = append(all, c.Outbound.Listener, c.DNSStreams)
		for _, p := range c.DNSPackets {
			all = append(all, p)
		}
	}
	for _, one := range all {
		fd, err := handover.Copy(one)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("sidecar's sockets: %w", err), s.close())
		}
		s.fds = append(s.fds, fd)
	}
	return s, nil
}
