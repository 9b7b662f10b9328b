package handover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is a listening socket and what both processes call it.
type Socket struct {
	Key      string
	Listener net.Listener
}

// Options of a Post.
type Options struct {
	// Path is the unix socket where the processes meet. Path.lock is used, too.
	Path string
	// Mode is the socket's permissions; 0600 by default. Whatever it is, other users are turned away.
	Mode fs.FileMode
	// First wants no process to be there, and Successor wants one. Neither takes it as it is.
	First, Successor bool
	// Patience bounds how long the other process may take to answer; 10 s by default.
	Patience time.Duration
}

// The reasons why a post can't be had that a caller may tell apart.
var (
	ErrTaken   = errors.New("another process is there")
	ErrNobody  = errors.New("no process is there to take over from")
	ErrUser    = errors.New("the process belongs to another user")
	errControl = errors.New("the old process did not hand over its own socket")
)

// controlKey names the socket of the post itself.
const controlKey = "\x00control"

// Post is a process's place: it has one, or is about to take it over.
type Post struct {
	o       Options
	control *net.UnixListener
	old     *net.UnixConn // to the process before; nil for none
	epoch   int
	sockets map[string]net.Listener // not taken yet
}

// Open finds out who has the post, and takes over copies of its sockets.
func Open(ctx context.Context, o Options) (*Post, error) {
	if o.Mode == 0 {
		o.Mode = 0o600
	}
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	lock, err := lockFile(o.Path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("hot restart: %w", err)
	}
	defer lock.Close()
	p := &Post{o: o, sockets: map[string]net.Listener{}}
	if err := p.open(ctx); err != nil {
		p.Close()
		return nil, fmt.Errorf("hot restart at %s: %w", o.Path, err)
	}
	return p, nil
}

// lockFile keeps two processes from opening the same post at a time.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: another process is starting: %w", name, err), f.Close())
	}
	return f, nil
}

func (p *Post) open(ctx context.Context) error {
	d := net.Dialer{Timeout: p.o.Patience}
	nc, err := d.DialContext(ctx, "unixpacket", p.o.Path)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return p.begin(ctx)
	default:
		return err
	}
	p.old = nc.(*net.UnixConn)
	if err := sameUser(p.old); err != nil {
		return err
	}
	if p.o.First {
		return ErrTaken
	}
	return p.fetch()
}

// begin opens the post of the first process.
func (p *Post) begin(ctx context.Context) error {
	if p.o.Successor {
		return ErrNobody
	}
	if err := os.Remove(p.o.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		var err error
		cerr := rc.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(p.o.Mode.Perm())) })
		return errors.Join(cerr, err)
	}}
	ln, err := lc.Listen(ctx, "unixpacket", p.o.Path)
	if err != nil {
		return err
	}
	p.control = ln.(*net.UnixListener)
	return nil
}

// fetch asks the old process for its sockets.
func (p *Post) fetch() error {
	if err := p.old.SetDeadline(time.Now().Add(p.o.Patience)); err != nil {
		return err
	}
	if err := send(p.old, message{Want: wantSockets}, nil); err != nil {
		return err
	}
	for more := true; more; {
		m, files, err := receive(p.old)
		if err != nil {
			return err
		}
		err = p.adopt(m.Keys, files)
		closeFiles(files) // adopt has made listeners of copies
		if err != nil {
			return err
		}
		p.epoch, more = m.Epoch+1, m.More
	}
	control, ok := p.sockets[controlKey].(*net.UnixListener)
	if !ok {
		return errControl
	}
	delete(p.sockets, controlKey)
	p.control = control
	return p.old.SetDeadline(time.Time{})
}

func (p *Post) adopt(keys []string, files []*os.File) error {
	for i, key := range keys {
		if len(p.sockets) > maxSockets {
			return fmt.Errorf("more than %d sockets", maxSockets)
		}
		ln, err := net.FileListener(files[i])
		if err != nil {
			return fmt.Errorf("socket %q: %w", key, err)
		}
		if twin := p.sockets[key]; twin != nil {
			_ = twin.Close() // nobody has used it
		}
		p.sockets[key] = ln
	}
	return nil
}

// Epoch is how many processes have had the post before this one.
func (p *Post) Epoch() int { return p.epoch }

// Take returns the old process's socket of that name, once; nil if it had none.
func (p *Post) Take(key string) net.Listener {
	ln := p.sockets[key]
	delete(p.sockets, key)
	return ln
}

// Relieve has the old process stop accepting, and closes the sockets that were not taken. It returns when the old
// process has closed its own. An old process that has died meanwhile is no error. Only a process that accepts may call
// it.
func (p *Post) Relieve() error {
	p.closeSockets()
	p.control.SetUnlinkOnClose(true)
	if p.old == nil {
		return nil
	}
	defer func() {
		_ = p.old.Close() // all has been said
		p.old = nil
	}()
	if err := p.old.SetDeadline(time.Now().Add(p.o.Patience)); err != nil {
		return fmt.Errorf("hot restart: %w", err)
	}
	if err := send(p.old, message{Want: wantRelief}, nil); err != nil {
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			return nil
		}
		return fmt.Errorf("hot restart: %w", err)
	}
	// An answer or the end of the connection, it comes to the same: whoever has died accepts no more.
	_, files, err := receive(p.old)
	closeFiles(files)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("hot restart: the old process goes on accepting: %w", err)
	}
	return nil
}

func (p *Post) closeSockets() {
	for key, ln := range p.sockets {
		_ = ln.Close() // this process never accepted from it
		delete(p.sockets, key)
	}
}

// Close gives the post up. The sockets that were taken are the caller's.
func (p *Post) Close() {
	p.closeSockets()
	if p.old != nil {
		_ = p.old.Close() // the old process sees it, and goes on
	}
	if p.control != nil {
		_ = p.control.Close() // a successor has a copy, or there is none
	}
}

// sameUser turns away processes of other users.
func sameUser(c *net.UnixConn) error {
	rc, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var gerr error
	if err := rc.Control(func(fd uintptr) { cred, gerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if gerr != nil {
		return gerr
	}
	if int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: process %d of uid %d", ErrUser, cred.Pid, cred.Uid)
	}
	return nil
}
