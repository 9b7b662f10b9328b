//go:build linux

package capture

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const programArg = "captured-program"

// programMain is what runs inside: one verb and its arguments.
func programMain(args []string) int {
	verbs := map[string]func([]string) error{
		"report":  reportProgram,
		"fetch":   fetchProgram,
		"send":    sendProgram,
		"resolve": resolveProgram,
		"serve":   serveProgram,
		"orphan":  orphanProgram,
		"trap":    trapProgram,
		"hang":    func([]string) error { return unix.Pause() },
		"outer":   outerProgram,
		"job":     jobProgram,
		"hide":    hideProgram,
	}
	if args[0] == "exit" {
		code, _ := strconv.Atoi(args[1])
		return code
	}
	if err := verbs[args[0]](args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// report is what a program sees of itself.
type report struct {
	UID, GID, PID  int
	Args, Env      []string
	Dir            string
	Status         map[string]string
	Interfaces     []string
	ParentReadable bool
}

func reportProgram([]string) error {
	r := report{UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid(), Args: os.Args, Env: os.Environ(), Status: map[string]string{}}
	r.Dir, _ = os.Getwd()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		k, v, _ := strings.Cut(line, ":")
		r.Status[k] = strings.TrimSpace(v)
	}
	ifs, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range ifs {
		r.Interfaces = append(r.Interfaces, i.Name)
	}
	_, err = os.ReadFile(fmt.Sprintf("/proc/%d/environ", os.Getppid()))
	r.ParentReadable = err == nil
	return json.NewEncoder(os.Stdout).Encode(r)
}

// fetchProgram connects to each address and prints what it is greeted with.
func fetchProgram(addrs []string) error {
	for _, a := range addrs {
		c, err := net.DialTimeout("tcp", a, 5*time.Second)
		if err != nil {
			return err
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		fmt.Print(line)
		c.Close()
	}
	return nil
}

// sendProgram tries to send a datagram and prints how it went.
func sendProgram(addrs []string) error {
	c, err := net.Dial("udp", addrs[0])
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = c.Write([]byte("hello"))
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	fmt.Println(err)
	return nil
}

// resolveProgram asks the server NETWORK ADDRESS for the addresses of a name.
func resolveProgram(args []string) error {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, args[0], args[1])
	}}
	addrs, err := r.LookupHost(context.Background(), args[2])
	fmt.Println(addrs, err)
	return nil
}

// serveProgram greets every connection to each address, and on stdin's end stops.
func serveProgram(addrs []string) error {
	for _, a := range addrs {
		l, err := net.Listen("tcp", a)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintf(c, "program at %s\n", a)
				c.Close()
			}
		}()
	}
	fmt.Println("serving")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// orphanProgram starts a child in a session of its own, prints its process id
// and hangs.
func orphanProgram([]string) error {
	cmd := exec.Command("/proc/self/exe", programArg, "hang")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid)
	return unix.Pause()
}

// trapProgram prints the signals that it gets, and ends at SIGTERM.
func trapProgram([]string) error {
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGINT)
	_, err := unix.IoctlGetTermios(0, unix.TCGETS)
	fmt.Println("ready, on a terminal:", err == nil)
	for s := range ch {
		fmt.Println(s)
		if s == syscall.SIGTERM {
			return nil
		}
	}
	return nil
}

// outerProgram is not captured itself: it captures the orphan program and then
// waits to be killed.
func outerProgram([]string) error {
	n, err := Start(context.Background(), Spec{Argv: []string{"/proc/self/exe", programArg, "orphan"}, Stdout: os.Stdout})
	if err != nil {
		return err
	}
	fmt.Println(n.PID(), n.cmd.Process.Pid)
	return unix.Pause()
}

// jobProgram is not captured itself: it captures the trap program, passes its
// own signals in, and ends as that does.
func jobProgram([]string) error {
	ch := make(chan os.Signal, 8)
	signal.Notify(ch, forwarded()...)
	n, err := Start(context.Background(), Spec{Argv: runs("trap"), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	for {
		select {
		case s := <-ch:
			if err := n.Signal(s); err != nil {
				return err
			}
		case <-n.Done():
			fmt.Println("job:", n.Wait())
			return n.Close()
		}
	}
}

// hideProgram hides a socket from itself and prints whether it can be reached,
// before and after.
func hideProgram(args []string) error {
	runtime.LockOSThread()
	for range 2 {
		c, err := net.Dial("unix", args[0])
		if err == nil {
			c.Close()
		}
		fmt.Println(errors.Is(err, unix.ECONNREFUSED), err == nil)
		hideSockets(args)
	}
	return nil
}
