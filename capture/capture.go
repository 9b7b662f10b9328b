package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"syscall"
)

// The addresses a captured program has on its loopback device besides
// 127.0.0.1 and ::1. Connections to addresses outside come from them.
var (
	// ProgramIPv4 is the "IPv4 dummy address" of RFC 7600: the source of a
	// host that has no address of its own. No peer can have it.
	ProgramIPv4 = netip.AddrFrom4([4]byte{192, 0, 0, 8})
	// ProgramIPv6 is a unique local address, so that programs prefer IPv4
	// for names that have both (RFC 6724).
	ProgramIPv6 = netip.MustParseAddr("fd6c:6174:6565:6e::1")
)

// Ports that are taken inside a program's namespace.
const (
	OutboundPort = 15001 // captured TCP
	DNSPort      = 15053 // captured DNS, UDP and TCP
)

// Spec is a program to start.
type Spec struct {
	// Argv is the command line. Argv[0] without a slash is looked up in the
	// PATH of Env.
	Argv []string
	// Env is the program's whole environment; nothing is added to it.
	Env []string
	// Dir is where it starts; empty means the caller's directory.
	Dir string
	// Stdin, Stdout and Stderr become the program's own, unwrapped: a
	// terminal stays one. nil means /dev/null. They stay the caller's to close.
	Stdin, Stdout, Stderr *os.File
	// Hold keeps the program from starting before Namespace.Release, so that
	// its proxy can be made ready first.
	Hold bool
}

// ExitStatus is how a program ended.
type ExitStatus struct {
	Code   int            // exit code; 128 + Signal when a signal ended it, as shells have it
	Signal syscall.Signal // 0 unless a signal ended it
	// Err is set when the program could not be started, or its end was not
	// seen because its keeper was killed.
	Err error
}

func (s ExitStatus) String() string {
	switch {
	case s.Err != nil:
		return s.Err.Error()
	case s.Signal != 0:
		return fmt.Sprintf("ended by signal %d (%s)", int(s.Signal), s.Signal)
	default:
		return fmt.Sprintf("exit code %d", s.Code)
	}
}

// UnsupportedError says why this machine can't capture programs.
type UnsupportedError struct {
	Stage string // what was tried: "create the namespaces", "install the packet rules"…
	Hint  string // what a person can do about it; may be empty
	Err   error
}

func (e *UnsupportedError) Error() string {
	text := "programs can't be captured on this machine: " + e.Stage
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		text += " (" + e.Hint + ")"
	}
	return text
}

func (e *UnsupportedError) Unwrap() error { return e.Err }

// StartError says that the namespace is fine but the program can't be run.
type StartError struct {
	Program string
	Err     error
}

func (e *StartError) Error() string { return fmt.Sprintf("start %s: %v", e.Program, e.Err) }
func (e *StartError) Unwrap() error { return e.Err }

// ExitCode is the code a shell would exit with: 127 when there is no such
// program, 126 when it can't be executed.
func (e *StartError) ExitCode() int {
	if errors.Is(e.Err, fs.ErrNotExist) {
		return 127
	}
	return 126
}
