package app

import (
	"os"
	"os/exec"
	"testing"
)

// TestProcessNames: a process has one name for as long as it lives, another than every other one, and none when it has ended,
// even before its parent took note.
func TestProcessNames(t *testing.T) {
	own := processName(os.Getpid())
	if own == "" || own != processName(os.Getpid()) {
		t.Errorf("this process is %q, then %q", own, processName(os.Getpid()))
	}
	cmd := exec.CommandContext(t.Context(), "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child := processName(cmd.Process.Pid)
	if child == "" || child == own {
		t.Errorf("a child of %q is %q", own, child)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if name := processName(cmd.Process.Pid); name != "" {
		t.Errorf("a process that has ended is %q", name)
	}
	for stat, want := range map[string]bool{
		"7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1": true,
		"7 (a) b) Z 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1": false,
		"7 (a": false, "": false,
	} {
		if got := processBegun([]byte(stat)) != ""; got != want {
			t.Errorf("%q is a process: %v", stat, got)
		}
	}
}
