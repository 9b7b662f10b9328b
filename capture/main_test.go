//go:build linux

package capture

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// ordinaryUser is the user (nobody) that the tests run as besides root.
const ordinaryUser = 65534

// TestMain is three programs: the stub, the captured programs of the tests, and the
// tests, which it runs as the caller and, when that is root, also as an
// ordinary user.
func TestMain(m *testing.M) {
	if IsStub(os.Args) {
		os.Exit(StubMain(os.Args))
	}
	if len(os.Args) > 1 && os.Args[1] == programArg {
		os.Exit(programMain(os.Args[2:]))
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	// Fuzzing keeps its corpus in the caller's own directory, and depends on no user.
	fuzzing := flag.Lookup("test.fuzz").Value.String() != ""
	if os.Getuid() == 0 && code == 0 && !fuzzing {
		code = againAs(ordinaryUser)
	}
	os.Exit(code)
}

// againAs runs the tests as another user.
func againAs(id uint32) int {
	cmd := exec.Command("/proc/self/exe")
	for _, a := range os.Args[1:] {
		// Files in a directory that only the caller may enter.
		if strings.HasPrefix(a, "-test.testlogfile") || strings.HasPrefix(a, "-test.coverprofile") {
			continue
		}
		cmd.Args = append(cmd.Args, a)
	}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	fmt.Printf("--- as user %d\n", id)
	if err := cmd.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "as user %d: %v\n", id, err)
		return 1
	}
	return 0
}
