package capture

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A signal that the keeper gets as well, shortly before or after the caller
// passes it in, went to the whole process group: the program has it already.
const (
	groupSignalBefore = 300 * time.Millisecond
	groupSignalAfter  = 100 * time.Millisecond
)

// forwarded are the signals that people and supervisors send, which the
// keeper must outlive.
func forwarded() []os.Signal {
	return []os.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
	}
}

// keeperEnv is the environment of stub and keeper: one processor is plenty.
func keeperEnv() []string { return []string{"GOMAXPROCS=1"} }

// keeper is the program's parent.
type keeper struct {
	link    *link
	release chan struct{} // a message for each release
	gone    chan struct{} // closed when the caller has gone

	mu   sync.Mutex
	pid  int                          // 0 before the program and after its end
	seen map[syscall.Signal]time.Time // when the keeper itself last got a signal
	heed chan struct{}                // closed and replaced at every signal
}

// keep runs on the thread that starts the program, which must live as long as
// the program does: the death signal hangs on it.
func keep() int {
	debug.SetGCPercent(25)
	unix.CloseOnExec(linkFD)
	unix.CloseOnExec(specFD)
	l, err := newLink(os.NewFile(linkFD, "caller"))
	if err != nil {
		return 1
	}
	k := &keeper{
		link:    l,
		release: make(chan struct{}, 1),
		gone:    make(chan struct{}),
		seen:    make(map[syscall.Signal]time.Time),
		heed:    make(chan struct{}),
	}
	code, err := k.run()
	if err != nil {
		_ = l.send(failedMessage(stageExec, err))
	}
	return code
}

func (k *keeper) run() (code int, err error) {
	spec := os.NewFile(specFD, "program")
	prog, err := readProgram(spec)
	spec.Close()
	if err != nil {
		return 1, err
	}
	// The program has the same user; without this it could trace the keeper.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return 1, fmt.Errorf("undumpable: %w", err)
	}
	inode, err := netInode(os.Getpid())
	if err != nil {
		return 1, err
	}
	k.watchSignals()
	go k.serve()
	if prog.hold {
		select {
		case <-k.release:
		case <-k.gone:
			return 1, nil
		}
	}
	pid, err := k.start(prog)
	if err != nil {
		return 1, err
	}
	debug.FreeOSMemory() // of the set-up; from now on little happens here
	status := k.wait(pid)
	_ = k.link.send(message{kind: msgExited, number: int(status)})
	killInside(inode, os.Getpid())
	return exitStatus(status).Code, nil
}

// start executes the program, and lets go of its standard streams.
func (k *keeper) start(p program) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	pid, err := syscall.ForkExec(p.path, p.argv, &syscall.ProcAttr{
		Dir:   p.dir,
		Env:   p.env,
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, err
	}
	k.pid = pid
	// A reader of the program's output must see its end when the program
	// closes it, not when the keeper ends.
	if null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0); err == nil {
		for fd := range 3 {
			_ = unix.Dup3(int(null.Fd()), fd, 0)
		}
		null.Close()
	}
	if err := k.link.send(message{kind: msgStarted, number: pid}); err != nil {
		_ = unix.Kill(pid, unix.SIGKILL) // the caller has gone meanwhile
	}
	return pid, nil
}

// wait returns when the program has ended. The process id is forgotten before
// it is free for others.
func (k *keeper) wait(pid int) syscall.WaitStatus {
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pid = 0
	var ws syscall.WaitStatus
	for {
		if _, err := syscall.Wait4(pid, &ws, 0, nil); !errors.Is(err, unix.EINTR) {
			return ws
		}
	}
}

func (k *keeper) kill(sig syscall.Signal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pid != 0 {
		_ = unix.Kill(k.pid, sig)
	}
}

// serve does what the caller says, until it is gone; then the program has no
// network any more, and ends. The goroutine ends with the process.
func (k *keeper) serve() {
	for {
		m, err := k.link.receive()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = k.link.conn.Close()
			}
			close(k.gone)
			k.kill(syscall.SIGKILL)
			return
		}
		m.closeFDs()
		switch m.kind {
		case msgRelease:
			select {
			case k.release <- struct{}{}:
			default:
			}
		case msgSignal:
			go k.deliver(syscall.Signal(m.number))
		case msgNeed:
			answer := makeSockets(m)
			_ = k.link.send(answer)
			answer.closeFDs()
		}
	}
}

// makeSockets answers a request for sockets.
func makeSockets(m message) message {
	family := unix.AF_INET
	if m.text == "6" {
		family = unix.AF_INET6
	}
	answer := message{kind: msgSockets, text: m.text}
	for range min(m.number, maxHanded) {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			var errno unix.Errno
			if errors.As(err, &errno) && len(answer.fds) == 0 {
				answer.number = int(errno)
			}
			break
		}
		answer.fds = append(answer.fds, fd)
	}
	return answer
}

// watchSignals notes the signals that reach the keeper. Ignored ones (nohup)
// stay ignored, also for the program.
func (k *keeper) watchSignals() {
	ch := make(chan os.Signal, 16)
	for _, s := range forwarded() {
		if !signal.Ignored(s) {
			signal.Notify(ch, s)
		}
	}
	go func() {
		for s := range ch {
			k.mu.Lock()
			k.seen[s.(syscall.Signal)] = time.Now()
			close(k.heed)
			k.heed = make(chan struct{})
			k.mu.Unlock()
		}
	}()
}

// deliver passes a signal on unless it came to the whole group.
func (k *keeper) deliver(sig syscall.Signal) {
	if sig == syscall.SIGKILL || sig == syscall.SIGSTOP || sig == syscall.SIGCONT {
		k.kill(sig)
		return
	}
	deadline := time.NewTimer(groupSignalAfter)
	defer deadline.Stop()
	for {
		k.mu.Lock()
		last, heed := k.seen[sig], k.heed
		k.mu.Unlock()
		if time.Since(last) < groupSignalBefore {
			return
		}
		select {
		case <-heed:
		case <-deadline.C:
			k.kill(sig)
			return
		}
	}
}
