//go:build linux

package redirect

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// insideName is the tests' name when they run in a network namespace of their
// own, where they are user 0 and may do as they like.
const insideName = "redirect-tests-inside"

func TestMain(m *testing.M) {
	if os.Args[0] == insideName {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{insideName}, os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	code := 0
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "in a namespace:", err)
		code = 1
	}
	os.Exit(code)
}
