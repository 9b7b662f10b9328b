//go:build linux

package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHint(t *testing.T) {
	for _, c := range []struct {
		err     error
		sysctls map[string]string
		want    string
	}{
		{unix.EPERM, map[string]string{"kernel.unprivileged_userns_clone": "0"}, "kernel.unprivileged_userns_clone=1"},
		{unix.EACCES, map[string]string{"kernel.apparmor_restrict_unprivileged_userns": "1"}, "AppArmor"},
		{unix.EPERM, nil, "seccomp"},
		{unix.ENOSPC, map[string]string{"user.max_user_namespaces": "0"}, "user.max_user_namespaces=10000"},
		{unix.ENOSPC, map[string]string{"user.max_net_namespaces": "0"}, "user.max_net_namespaces=10000"},
		{unix.ENOSPC, nil, "too many"},
		{fmt.Errorf("rules: %w", unix.ENOENT), nil, "nft_redir"},
		{unix.EINVAL, nil, "built without"},
		{errors.New("something else"), nil, ""},
	} {
		got := hint(c.err, func(name string) string { return c.sysctls[name] })
		if !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%v with %v: %q, want %q in it", c.err, c.sysctls, got, c.want)
		}
	}
}

func TestUnsupportedErrorNamesStageCauseAndHint(t *testing.T) {
	inside := failedMessage(stageRules, fmt.Errorf("nft: %w", unix.ENOENT)).failure()
	err := unsupported(inside.stage, inside)
	for _, want := range []string{stageRules, "nft: no such file", "modules nf_tables"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q lacks %q", err, want)
		}
	}
	if strings.Count(err.Error(), "no such file") != 1 || !errors.Is(err, unix.ENOENT) {
		t.Errorf("%q", err)
	}
}

func TestHideSockets(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command("/proc/self/exe", programArg, "hide", path, filepath.Join(dir, "absent"))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "false true\ntrue false\n"; string(out) != want {
		t.Errorf("refused, reached: %q, want %q", out, want)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("hidden outside, too: %v", err)
	} else {
		c.Close()
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"yes": 0o755, "no": 0o644, "sub/yes": 0o755} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ name, path, dir, want string }{
		{"yes", "PATH=/nowhere:" + dir, "", dir + "/yes"},
		{"yes", "PATH=", dir, ""},
		{"yes", "PATH=.", dir, "./yes"},
		{"yes", "PATH=sub", dir, "sub/yes"},
		{"./yes", "", dir, "./yes"},
		{"sub/yes", "PATH=/nowhere", dir, "sub/yes"},
		{"no", "PATH=" + dir, "", ""},
		{"sub", "PATH=" + dir, "", ""},
		{"absent", "PATH=" + dir, "", ""},
	} {
		got, err := lookPath(c.name, []string{"PATH=/overridden", c.path}, c.dir)
		if (err == nil) != (c.want != "") || err == nil && got != c.want {
			t.Errorf("%s with %s in %q: %q, %v; want %q", c.name, c.path, c.dir, got, err, c.want)
		}
	}
}

func FuzzProgramDescription(f *testing.F) {
	f.Add("/bin/true", "", false, "a", "A=1")
	f.Add("x", "/", true, "", "")
	f.Fuzz(func(t *testing.T, path, dir string, hold bool, arg, env string) {
		want := program{path: path, dir: dir, hold: hold, argv: []string{path, arg, ""}, env: []string{env, "B=2"}}
		for _, s := range []string{path, dir, arg, env} {
			if strings.IndexByte(s, 0) >= 0 {
				return // newProgram refuses it
			}
		}
		file, err := want.file()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		got, err := readProgram(file)
		if err != nil {
			t.Fatal(err)
		}
		if got.path != want.path || got.dir != want.dir || got.hold != want.hold || !slices.Equal(got.argv, want.argv) || !slices.Equal(got.env, want.env) {
			t.Errorf("wrote %+v, read %+v", want, got)
		}
	})
}

func FuzzReadProgram(f *testing.F) {
	f.Add([]byte("p\x00d\x00true\x001\x00p"))
	f.Add([]byte("p\x00d\x00true\x0099\x00p"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fd, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), "fuzz")
		defer file.Close()
		if _, err := file.Write(b); err != nil {
			t.Fatal(err)
		}
		if p, err := readProgram(file); err == nil && len(p.argv) == 0 {
			t.Errorf("%q: no arguments", b)
		}
	})
}
