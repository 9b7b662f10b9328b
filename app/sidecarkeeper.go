package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lateen.dev/lateen/app/dataplane"
	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/lib/handover"
)

func (s *programSockets) close() error {
	var err error
	for _, fd := range s.fds {
		err = errors.Join(err, unix.Close(fd))
	}
	s.fds = nil
	return err
}

// sidecarKeeper keeps a program's sidecar: the first, which is in this process, and those in processes of their own that
// take over from it (`lateen sidecar restart`). The program notices nothing.
type sidecarKeeper struct {
	w       *workloadRun
	dial    func(ctx context.Context, port uint16) (net.Conn, error)
	sockets *programSockets
	first   *dataplane.Proxy
	post    string       // where sidecars meet; "" if they can't
	local   net.Listener // where the command comes; nil as post
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	one sync.Mutex // held while a sidecar is started

	mu      sync.Mutex // guards what follows
	current *sidecarProcess
	all     map[*sidecarProcess]bool
	drained bool
}

// sidecarProcess is a sidecar in a process of its own.
type sidecarProcess struct {
	cmd     *exec.Cmd
	conn    *net.UnixConn
	serving chan struct{} // closed when it has taken over
	ended   chan struct{} // closed after err was set
	err     error
}

// newSidecarKeeper prepares for restarts. Where they can't be had, because of a path that is too long for a socket for
// instance, it says so in the log.
func (w *workloadRun) newSidecarKeeper(c *dataplane.Config) (*sidecarKeeper, error) {
	k := &sidecarKeeper{w: w, dial: c.DialProgram, all: map[*sidecarProcess]bool{}}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	var err error
	if k.sockets, err = keepSockets(c); err != nil {
		return nil, err
	}
	reg := &w.joined.Workload
	base := filepath.Join(w.Dir, cli.RunFolder, reg.Name+"."+reg.Namespace)
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		w.log.Warn("the sidecar can't be restarted", "error", err)
		return k, nil
	}
	const socketPath = 107 // bytes at most
	if len(base)+len(cli.RunSuffix) > socketPath {
		w.log.Warn("the sidecar can't be restarted: its socket's path is too long", "path", base+cli.RunSuffix)
		return k, nil
	}
	k.post = base + ".post"
	c.DrainTime = w.DrainTime
	c.Restart = dataplane.RestartOptions{Path: k.post, First: true, Shutdown: w.ParentShutdown}
	return k, nil
}

// startFirst starts the sidecar in this process.
func (k *sidecarKeeper) startFirst(ctx context.Context, c dataplane.Config) (*dataplane.Proxy, error) {
	first, err := dataplane.Start(ctx, c)
	if errors.Is(err, handover.ErrTaken) {
		k.w.log.Warn("the sidecar can't be restarted: another workload of this directory has its name", "path", k.post)
		k.post, c.Restart = "", dataplane.RestartOptions{}
		first, err = dataplane.Start(ctx, c)
	}
	if err != nil {
		return nil, fmt.Errorf("sidecar: %w", err)
	}
	return first, nil
}

// begin takes commands from now on, and follows the first sidecar.
func (k *sidecarKeeper) begin(first *dataplane.Proxy) {
	k.first = first
	if k.post == "" {
		return
	}
	relieved := first.TakeOver()
	k.wg.Go(func() {
		select {
		case <-relieved:
			if err := first.Fade(k.ctx, cutOffAfter); err != nil {
				k.w.log.Warn("the first sidecar's end", "error", err)
			}
			first.Close()
		case <-k.ctx.Done():
		}
	})
	var err error
	if k.local, err = listenSocket(k.post[:len(k.post)-len(".post")] + cli.RunSuffix); err != nil {
		k.w.log.Warn("the sidecar can't be restarted", "error", err)
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+cli.PathRestart, k.restart)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	k.wg.Go(func() {
		_ = server.Serve(k.local) // it ends when close closes it
	})
	k.wg.Go(func() {
		<-k.ctx.Done()
		_ = server.Close() // what it was doing has no consequence any more
	})
}

// restart answers `lateen sidecar restart`.
func (k *sidecarKeeper) restart(w http.ResponseWriter, q *http.Request) {
	var request cli.RestartRequest
	if !readJSON(w, q, &request) {
		return
	}
	p, err := k.replace(q.Context(), request.Executable)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	writeJSON(w, cli.RestartResponse{PID: p.cmd.Process.Pid})
}

// replace starts a sidecar and returns when it has taken over. If it doesn't, the one before it goes on.
func (k *sidecarKeeper) replace(ctx context.Context, executable string) (*sidecarProcess, error) {
	k.one.Lock()
	defer k.one.Unlock()
	if !filepath.IsAbs(executable) {
		return nil, fmt.Errorf("sidecar: %q is no absolute path of a program", executable)
	}
	p, err := k.launch(executable)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.serving:
	case <-p.ended:
		return nil, fmt.Errorf("the new sidecar has ended, and the one before it goes on: %w (see %s)", orError(p.err, "exit code 0"), k.w.logFile.Name())
	case <-ctx.Done():
		p.conn.Close()
		<-p.ended
		return nil, fmt.Errorf("the new sidecar was not ready in time, and the one before it goes on: %w", ctx.Err())
	}
	k.mu.Lock()
	k.current = p
	drained := k.drained
	k.mu.Unlock()
	if drained {
		p.tell(sidecarIsTold{Drain: true})
	}
	k.w.log.Info("another process is the sidecar now", "process", p.cmd.Process.Pid, "executable", executable)
	return p, nil
}

// launch starts a sidecar's process and gives it its task.
func (k *sidecarKeeper) launch(executable string) (*sidecarProcess, error) {
	conn, theirs, err := newSidecarPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	p := &sidecarProcess{conn: conn, serving: make(chan struct{}), ended: make(chan struct{})}
	p.cmd = exec.Command(executable, SidecarCommand)
	p.cmd.Stdout, p.cmd.Stderr = k.w.logFile, k.w.logFile
	p.cmd.ExtraFiles = []*os.File{theirs}
	p.cmd.SysProcAttr = childAttributes()
	if err := k.start(p, executable); err != nil {
		conn.Close()
		return nil, fmt.Errorf("sidecar: %w", err)
	}
	w := k.w
	task := sidecarTask{Joined: *w.joined, Away: w.Away, AdminPort: w.joined.adminPort, Dir: w.Dir, LogFile: w.logFile.Name(), Log: w.Log,
		Explicit: w.Explicit, Post: k.post, DrainTime: w.DrainTime, Shutdown: w.ParentShutdown, Inbound: k.sockets.inbound}
	if err := handover.Send(conn, task, k.sockets.fds...); err != nil {
		conn.Close()
		return nil, fmt.Errorf("sidecar: %w", err)
	}
	return p, nil
}

func (k *sidecarKeeper) start(p *sidecarProcess, executable string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.ctx.Err(); err != nil { // close doesn't know of it
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	k.all[p] = true
	k.wg.Go(func() { k.serve(p) })
	k.wg.Go(func() { k.await(p, executable) })
	return nil
}

// maxDials bounds the connections to the program that are being opened for one sidecar.
const maxDials = 256

// dialTime bounds how long one may take; the sidecar's own limits are shorter.
const dialTime = 30 * time.Second

// serve does what a sidecar asks for, until it has ended.
func (k *sidecarKeeper) serve(p *sidecarProcess) {
	places := make(chan struct{}, maxDials)
	var dials sync.WaitGroup
	defer dials.Wait()
	for {
		var m sidecarAsks
		files, err := handover.Receive(p.conn, &m)
		if err != nil {
			return
		}
		for _, f := range files {
			f.Close() // it was not to send any
		}
		if m.Serving {
			close(p.serving)
		}
		if m.Dial == 0 {
			continue
		}
		places <- struct{}{}
		dials.Go(func() {
			defer func() { <-places }()
			k.connect(p, m)
		})
	}
}

// connect opens a connection to the program for a sidecar.
func (k *sidecarKeeper) connect(p *sidecarProcess, m sidecarAsks) {
	ctx, cancel := context.WithTimeout(k.ctx, dialTime)
	defer cancel()
	answer := sidecarIsTold{Dial: m.Dial}
	var fds []int
	c, err := k.dial(ctx, m.Port)
	if err == nil {
		var fd int
		if fd, err = handover.Copy(c); err == nil {
			fds = append(fds, fd)
			defer unix.Close(fd)
		}
		c.Close() // the sidecar has the copy
	}
	if err != nil && !errors.As(err, &answer.Errno) {
		answer.Error = err.Error()
	}
	p.tell(answer, fds...)
}

// tell sends what has no consequence if the process has ended.
func (p *sidecarProcess) tell(m sidecarIsTold, fds ...int) { _ = handover.Send(p.conn, m, fds...) }

// await waits for a process's end, and has another one take its place if that was not to be.
func (k *sidecarKeeper) await(p *sidecarProcess, executable string) {
	p.err = p.cmd.Wait()
	p.conn.Close()
	close(p.ended)
	k.mu.Lock()
	delete(k.all, p)
	lost := k.current == p
	k.mu.Unlock()
	for pause := 100 * time.Millisecond; lost && k.ctx.Err() == nil; pause = min(2*pause, 5*time.Second) {
		k.w.log.Error("the sidecar has ended; another one takes its place", "process", p.cmd.Process.Pid, "error", p.err)
		ctx, cancel := context.WithTimeout(k.ctx, readyTimeout)
		_, err := k.replace(ctx, executable)
		cancel()
		if err == nil {
			return
		}
		k.w.log.Error("no sidecar could be started", "error", err)
		select {
		case <-time.After(pause):
		case <-k.ctx.Done():
		}
	}
}

// drain asks connections to end, in every process.
func (k *sidecarKeeper) drain() {
	k.first.BeginDrain()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drained = true
	for p := range k.all {
		p.tell(sidecarIsTold{Drain: true})
	}
}

// sidecarGrace is how long a sidecar may take to end when its program has ended.
const sidecarGrace = 3 * time.Second

// close ends all sidecars.
func (k *sidecarKeeper) close() {
	k.cancel()
	k.mu.Lock()
	for p := range k.all {
		p.conn.Close() // which they take for the end
		kill := time.AfterFunc(sidecarGrace, func() { _ = p.cmd.Process.Signal(syscall.SIGKILL) })
		defer kill.Stop()
	}
	k.mu.Unlock()
	if k.first != nil {
		k.first.Close()
	}
	k.wg.Wait()
	if err := k.sockets.close(); err != nil {
		k.w.log.Warn("closing the program's sockets", "error", err)
	}
}
