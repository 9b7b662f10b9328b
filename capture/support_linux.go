package capture

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Stages of the work inside, as errors name them.
const (
	stageDevice  = "bring up the loopback device"
	stageRules   = "install the packet rules"
	stageSockets = "open the sockets"
	stageDrop    = "give up the capabilities"
	stageKeeper  = "become the keeper"
	stageExec    = "execute the program"
)

// Supported tells whether Start can work here, by doing all of it once,
// without a program. The error is an *UnsupportedError.
func Supported() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	n, err := Start(ctx, Spec{Argv: []string{"/proc/self/exe"}, Hold: true})
	if err != nil {
		return err
	}
	return n.Close()
}

func unsupported(stage string, err error) *UnsupportedError {
	var inside *stageError
	if errors.As(err, &inside) {
		err = errors.New(inside.cause)
		if inside.errno != 0 {
			err = &causeError{text: inside.cause, errno: inside.errno}
		}
	}
	return &UnsupportedError{Stage: stage, Hint: hint(err, sysctl), Err: err}
}

// causeError keeps the text of an error from inside and the errno beneath it.
type causeError struct {
	text  string
	errno unix.Errno
}

func (e *causeError) Error() string { return e.text }
func (e *causeError) Unwrap() error { return e.errno }

// sysctl reads a kernel setting; "" when the kernel has no such one.
func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// hint tells what a person can do about an error of the set-up.
func hint(err error, sysctl func(string) string) string {
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	switch {
	case sysctl("user.max_user_namespaces") == "0":
		return "user namespaces are switched off: sysctl user.max_user_namespaces=10000"
	case sysctl("user.max_net_namespaces") == "0":
		return "network namespaces are switched off: sysctl user.max_net_namespaces=10000"
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS):
		return "too many namespaces: raise the sysctls user.max_user_namespaces and user.max_net_namespaces"
	case denied && sysctl("kernel.unprivileged_userns_clone") == "0":
		return "user namespaces are for root only: sysctl kernel.unprivileged_userns_clone=1"
	case denied && sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor restricts user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile for this program with \"userns,\""
	case denied:
		return "something forbids user namespaces to this process, most often a container's seccomp profile"
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT):
		return "the kernel needs nftables with nat: modules nf_tables, nft_nat, nft_redir, nft_reject_inet"
	case errors.Is(err, unix.EINVAL):
		return "the kernel seems to be built without user namespaces"
	}
	return ""
}
