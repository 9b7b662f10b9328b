package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"lateen.dev/lateen/capture/redirect"
)

// keeperPatience is how long Close waits for the keeper to clear up.
const keeperPatience = 2 * time.Second

// Namespace is a running captured program and the sockets around it.
type Namespace struct {
	cmd  *exec.Cmd
	link *link

	outbound *net.TCPListener
	dnsTCP   *net.TCPListener
	dnsUDP   []*net.UDPConn
	diag     *listenQuery
	supply4  *supply
	supply6  *supply
	inode    uint64 // of the network namespace

	program string
	ready   chan struct{}      // closed when the sockets have arrived
	started chan struct{}      // closed when the program runs
	pid     int                // of the program; valid after started
	failed  chan *stageError   // a failure before started; holds one
	done    chan struct{}      // closed after exit has been set and everything inside has ended
	exit    ExitStatus         // valid after done
	cancel  context.CancelFunc // ends every wait in Dial and Listening
	closed  sync.Once
	workers sync.WaitGroup
}

// Start makes the namespaces, and starts the program in them unless spec says
// to hold it. When it returns, the program's packets already have where to go.
//
// The errors are an *UnsupportedError when this machine can't do it, so that
// the caller can fall back to explicit proxying, and a *StartError when the
// program itself can't be run.
//
// ctx bounds the start only. The program runs until it ends, or Close.
func Start(ctx context.Context, spec Spec) (*Namespace, error) {
	prog, err := newProgram(spec)
	if err != nil {
		return nil, err
	}
	n := &Namespace{
		program: spec.Argv[0],
		ready:   make(chan struct{}),
		started: make(chan struct{}),
		failed:  make(chan *stageError, 1),
		done:    make(chan struct{}),
	}
	if err := n.launch(spec, prog); err != nil {
		return nil, err
	}
	waiting := n.ready
	if !spec.Hold {
		waiting = n.started
	}
	if err := n.await(ctx, waiting); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// launch starts the stub and the two goroutines that belong to it.
func (n *Namespace) launch(spec Spec, prog program) error {
	desc, err := prog.file()
	if err != nil {
		return err
	}
	defer desc.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "stub")
	defer theirs.Close()
	if n.link, err = newLink(os.NewFile(uintptr(pair[0]), "keeper")); err != nil {
		return err
	}
	n.cmd = stubCommand(spec)
	n.cmd.ExtraFiles = []*os.File{theirs, desc} // 3 and 4: stubLinkFD, stubSpecFD
	if err := n.cmd.Start(); err != nil {
		n.link.conn.Close()
		return unsupported("create the namespaces", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.supply4 = newSupply(ctx, func(k int) error { return n.link.send(message{kind: msgNeed, number: k, text: "4"}) })
	n.supply6 = newSupply(ctx, func(k int) error { return n.link.send(message{kind: msgNeed, number: k, text: "6"}) })
	n.workers.Add(2)
	heard := make(chan *ExitStatus, 1)
	go func() {
		defer n.workers.Done()
		heard <- n.listen()
	}()
	go func() {
		defer n.workers.Done()
		n.reap(heard)
	}()
	return nil
}

// stubCommand is the executable itself in new namespaces, with the least
// capabilities that the set-up needs: packet rules, hiding sockets, and giving
// up the rest.
func stubCommand(spec Spec) *exec.Cmd {
	uid, gid := os.Getuid(), os.Getgid()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{stubName}, spec.Argv...)
	cmd.Env = keeperEnv() // the stub's Go runtime must not read the program's GODEBUG
	// A nil *os.File must not become a non-nil interface.
	if spec.Stdin != nil {
		cmd.Stdin = spec.Stdin
	}
	if spec.Stdout != nil {
		cmd.Stdout = spec.Stdout
	}
	if spec.Stderr != nil {
		cmd.Stderr = spec.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP},
	}
	return cmd
}

// listen handles what the keeper says until it is gone, and returns the
// program's end if the keeper told it.
func (n *Namespace) listen() (exit *ExitStatus) {
	for {
		m, err := n.link.receive()
		if err != nil {
			return exit
		}
		switch m.kind {
		case msgReady:
			if err := n.adopt(m.fds); err != nil {
				n.fail(&stageError{stage: "take over the sockets", cause: err.Error()})
				return nil
			}
			close(n.ready)
		case msgStarted:
			n.pid = m.number
			close(n.started)
		case msgSockets:
			n.supplyFor(m.text).add(m.fds, socketsError(m.number))
		case msgExited:
			s := exitStatus(syscall.WaitStatus(m.number))
			exit = &s
		case msgFailed:
			n.fail(m.failure())
		default:
			m.closeFDs()
		}
	}
}

func (n *Namespace) supplyFor(family string) *supply {
	if family == "6" {
		return n.supply6
	}
	return n.supply4
}

func socketsError(errno int) error {
	if errno == 0 {
		return nil
	}
	return fmt.Errorf("make a socket in the namespace: %w", unix.Errno(errno))
}

func (n *Namespace) fail(e *stageError) {
	select {
	case n.failed <- e:
	default:
	}
}

// adopt turns the handed descriptors into listeners and connections.
func (n *Namespace) adopt(fds []int) error {
	if len(fds) <= handedDiag {
		message{fds: fds}.closeFDs()
		return fmt.Errorf("%d descriptors", len(fds))
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "captured")
		defer files[i].Close()
	}
	var err error
	if n.outbound, err = tcpListener(files[handedOutbound]); err != nil {
		return err
	}
	if n.dnsTCP, err = tcpListener(files[handedDNSTCP]); err != nil {
		return err
	}
	udp := files[handedDNSUDP4 : handedDNSUDP4+1]
	if len(files) > handedDNSUDP6 {
		udp = append(udp[:1:1], files[handedDNSUDP6])
	}
	for _, f := range udp {
		c, err := net.FilePacketConn(f)
		if err != nil {
			return fmt.Errorf("DNS socket: %w", err)
		}
		n.dnsUDP = append(n.dnsUDP, c.(*net.UDPConn))
	}
	if n.diag, err = newListenQuery(files[handedDiag]); err != nil {
		return err
	}
	n.inode, err = netInode(n.cmd.Process.Pid)
	return err
}

func tcpListener(f *os.File) (*net.TCPListener, error) {
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("captured listener: %w", err)
	}
	return l.(*net.TCPListener), nil
}

// await waits for one of the steps of the start.
func (n *Namespace) await(ctx context.Context, step <-chan struct{}) error {
	select {
	case <-step:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("start %s: %w", n.program, context.Cause(ctx))
	case <-n.done:
	}
	select {
	case <-step: // it started and ended meanwhile
		return nil
	case e := <-n.failed:
		if e.stage == stageExec {
			return &StartError{Program: n.program, Err: e}
		}
		return unsupported(e.stage, e)
	default:
		return unsupported("set up the namespaces", fmt.Errorf("the first process inside ended: %w", n.exit.Err))
	}
}

// reap waits for the keeper's end, sees that nothing stays behind, and settles
// the exit status.
func (n *Namespace) reap(heard <-chan *ExitStatus) {
	waitErr := n.cmd.Wait()
	exit := <-heard // the keeper's end has closed the link
	if n.inode != 0 {
		killInside(n.inode, os.Getpid())
	}
	switch {
	case exit != nil:
		n.exit = *exit
	case n.PID() == 0:
		n.exit = ExitStatus{Code: 1, Err: errors.Join(fmt.Errorf("%s was not started", n.program), waitErr)}
	default:
		lost := fmt.Errorf("the end of %s was not seen: its keeper was killed", n.program)
		n.exit = ExitStatus{Code: 128 + int(unix.SIGKILL), Err: errors.Join(lost, waitErr)}
	}
	close(n.done)
	n.cancel()
}

func exitStatus(ws syscall.WaitStatus) ExitStatus {
	if ws.Signaled() {
		return ExitStatus{Code: 128 + int(ws.Signal()), Signal: ws.Signal()}
	}
	return ExitStatus{Code: ws.ExitStatus()}
}

// Release starts a program that Spec.Hold has kept back.
func (n *Namespace) Release(ctx context.Context) error {
	if err := n.link.send(message{kind: msgRelease}); err != nil {
		return err
	}
	return n.await(ctx, n.started)
}

// Outbound accepts the TCP connections that the program opens to other
// machines, IPv4 and IPv6. OriginalDst tells where each was going. The Namespace
// closes it, too.
func (n *Namespace) Outbound() *net.TCPListener { return n.outbound }

// DNSPackets are the sockets at which the program's UDP DNS queries arrive,
// whichever server it asked: one for IPv4, and one for IPv6 where the kernel
// has it.
func (n *Namespace) DNSPackets() []*net.UDPConn { return n.dnsUDP }

// DNSStreams accepts the program's DNS queries over TCP.
func (n *Namespace) DNSStreams() *net.TCPListener { return n.dnsTCP }

func (n *Namespace) hasIPv6() bool { return len(n.dnsUDP) > 1 }

// PID is the program's process id, 0 before it has started.
func (n *Namespace) PID() int {
	select {
	case <-n.started:
		return n.pid
	default:
		return 0
	}
}

// Signal passes a signal to the program, unless it has just received the same
// one itself: a key like Ctrl-C signals the whole process group of a terminal, of
// which the program is one, and must not count twice.
func (n *Namespace) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("signal %v: not a system signal", sig)
	}
	if err := n.link.send(message{kind: msgSignal, number: int(s)}); err != nil {
		select {
		case <-n.done:
			return os.ErrProcessDone
		default:
			return err
		}
	}
	return nil
}

// Done is closed when the program has ended and nothing is left inside.
func (n *Namespace) Done() <-chan struct{} { return n.done }

// Wait returns how the program ended, when it has.
func (n *Namespace) Wait() ExitStatus {
	<-n.done
	return n.exit
}

// Close kills what still runs inside, closes all the sockets and waits until
// everything has gone. It returns the first error of closing.
func (n *Namespace) Close() error {
	var err error
	n.closed.Do(func() {
		// The keeper takes the half-closed link for the caller's end, but can
		// still tell the program's. One that doesn't react is killed.
		err = n.link.conn.CloseWrite()
		stuck := time.AfterFunc(keeperPatience, func() { _ = n.cmd.Process.Kill() })
		n.workers.Wait()
		stuck.Stop()
		err = errors.Join(err, n.link.conn.Close())
		n.supply4.close()
		n.supply6.close()
		var closers []io.Closer
		if n.outbound != nil {
			closers = append(closers, n.outbound)
		}
		if n.dnsTCP != nil {
			closers = append(closers, n.dnsTCP)
		}
		for _, c := range n.dnsUDP {
			closers = append(closers, c)
		}
		if n.diag != nil {
			closers = append(closers, n.diag)
		}
		for _, c := range closers {
			if e := c.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
				err = errors.Join(err, e)
			}
		}
	})
	return err
}

// OriginalDst tells where a connection accepted by Outbound was going. A
// connection made to the listener itself gives redirect.ErrNotRedirected.
func OriginalDst(conn net.Conn) (netip.AddrPort, error) { return redirect.OriginalDst(conn) }
