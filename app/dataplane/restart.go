package dataplane

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"lateen.dev/lateen/lib/handover"
)

// RestartOptions are those of a hot restart: a new process takes the listening sockets of the one that runs.
type RestartOptions struct {
	// Path is the unix socket where the two meet; "" switches hot restarts off.
	Path string
	// Mode is the socket's permissions; 0600 by default.
	Mode fs.FileMode
	// First is for a process that must find none before it, Successor for one that must.
	First, Successor bool
	// Shutdown is when a process ends that another one has taken over from, with whatever connections are left.
	Shutdown time.Duration
}

// RestartFlags are RestartOptions as Envoy's command line says them.
type RestartFlags struct {
	SocketPath, SocketMode string
	BaseID, Epoch          int
	SkipNoParent, Disable  bool
	ParentShutdownSeconds  int
}

// Options translates them.
func (f RestartFlags) Options() (RestartOptions, error) {
	var o RestartOptions
	if f.SocketPath == "" {
		if f.Epoch > 0 {
			return o, errors.New("--restart-epoch needs --socket-path, where the processes meet")
		}
		return o, nil
	}
	if f.Disable {
		return o, nil
	}
	if strings.HasPrefix(f.SocketPath, "@") {
		return o, errors.New("--socket-path: a path is needed; names in the abstract namespace have no permissions")
	}
	mode, err := strconv.ParseUint(f.SocketMode, 8, 32)
	if err != nil || mode > 0o777 {
		return o, errors.New("--socket-mode: " + f.SocketMode + " is no octal mode of a file, such as 600")
	}
	o = RestartOptions{Path: f.SocketPath, Mode: fs.FileMode(mode), First: f.Epoch == 0, Successor: f.Epoch > 0 && !f.SkipNoParent,
		Shutdown: time.Duration(f.ParentShutdownSeconds) * time.Second}
	if f.BaseID != 0 {
		o.Path += "_" + strconv.Itoa(f.BaseID)
	}
	return o, nil
}

// restart is a process's side of a hot restart. Without one it does nothing.
type restart struct {
	admin    net.Listener // nil for none
	shutdown time.Duration

	mu   sync.Mutex     // orders the calls of the post's methods until Relieve: listeners arrive in other goroutines
	post *handover.Post // nil where hot restarts are off
}

func openRestart(ctx context.Context, o RestartOptions) (*restart, error) {
	if o.Path == "" {
		return &restart{}, nil
	}
	post, err := handover.Open(ctx, handover.Options{Path: o.Path, Mode: o.Mode, First: o.First, Successor: o.Successor})
	if errors.Is(err, handover.ErrTaken) || errors.Is(err, handover.ErrNobody) {
		err = errors.Join(err, errors.New("(--restart-epoch 0 is for the first process, 1 and more for its successors; without the flag either will do)"))
	}
	return &restart{post: post, shutdown: o.Shutdown}, err
}

func (r *restart) close() {
	if r.post != nil {
		r.post.Close()
	}
}

func (r *restart) epoch() int {
	if r.post == nil {
		return 0
	}
	return r.post.Epoch()
}

func (r *restart) take(key string) net.Listener {
	if r.post == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.post.Take(key)
}

func (r *restart) relieve() error {
	if r.post == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.post.Relieve()
}

func adminKey(a net.Addr) string { return "admin " + a.String() }

func (r *restart) listenAdmin(a netip.AddrPort) (net.Listener, error) {
	if ln := r.take(adminKey(net.TCPAddrFromAddrPort(a))); ln != nil {
		return ln, nil
	}
	return listenAdmin(a)
}

// TakeOver begins to serve in place of the process before this one, which has served until now, and waits for one that takes
// over from this one; the channel is closed when one has. It does the second alone in a process that is the first: that
// serves from its start. Call it once, when WaitReady has returned, and Fade when the channel is closed.
func (p *Proxy) TakeOver() <-chan struct{} {
	if p.restart.epoch() > 0 {
		p.engine.Begin()
		p.serveOwn()
		if err := p.restart.relieve(); err != nil {
			p.log.Error("taking over", "error", err)
		}
	}
	return p.keep(p.restart, p.endOwn)
}

// keep waits for a process that takes over; the channel is closed when one has.
func (p *Proxy) keep(r *restart, endAdmin func()) <-chan struct{} {
	relieved := make(chan struct{})
	if r.post == nil {
		return relieved
	}
	p.wg.Go(func() {
		err := r.post.Keep(p.ctx, handover.Holder{
			Sockets: func() []handover.Socket { return p.sockets(r) },
			Release: func() {
				p.engine.Release()
				endAdmin()
			},
			Failed: func(err error) { p.log.Warn("another process did not take over; this one goes on", "error", err) },
		})
		if err == nil {
			close(relieved)
			return
		}
		p.ended("hot restart", err)
	})
	return relieved
}

// sockets are what a process that takes over may have.
func (p *Proxy) sockets(r *restart) []handover.Socket {
	var list []handover.Socket
	for _, k := range p.engine.Sockets() {
		list = append(list, handover.Socket{Key: k.Key, Listener: k.Listener})
	}
	if r.admin != nil {
		list = append(list, handover.Socket{Key: adminKey(r.admin.Addr()), Listener: r.admin})
	}
	return list
}

// Fade ends a process whose listeners another one has: its connections may go on until the shutdown time. When ctx
// ends meanwhile they have limit, as at any other end.
func (p *Proxy) Fade(ctx context.Context, limit time.Duration) error {
	shutdown := p.restart.shutdown
	p.log.Info("another process has taken over", "ends_within", shutdown)
	fading, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdown)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(limit)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-fading.Done():
		}
	})
	defer stop()
	p.engine.Drain(fading, 0, p.engine.DrainTime())
	if err := p.engine.Shutdown(fading); err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	p.log.Info("the last connection has ended", "process", os.Getpid())
	return nil
}
