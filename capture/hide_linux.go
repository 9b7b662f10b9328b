package capture

import (
	"os"

	"golang.org/x/sys/unix"
)

// resolverSockets are where the C library may ask for names past the network:
// systemd-resolved (nss-resolve) and the name service cache daemon. They would
// answer from outside, where the names of the mesh are not known.
func resolverSockets() []string {
	return []string{
		"/run/systemd/resolve/io.systemd.Resolve",
		"/run/nscd/socket",
		"/var/run/nscd/socket",
	}
}

// hideSockets makes sockets of the file system unreachable for the calling
// thread and what it executes, in a mount namespace that differs in nothing
// else. The C library then asks over the network, as its configuration says.
//
// It is best effort: where mounts are forbidden, names are resolved by whoever
// resolves them outside.
func hideSockets(paths []string) {
	var there []string
	for _, p := range paths {
		if info, err := os.Lstat(p); err == nil && info.Mode()&os.ModeSocket != 0 {
			there = append(there, p)
		}
	}
	if len(there) == 0 || unix.Unshare(unix.CLONE_NEWNS) != nil {
		return
	}
	for _, p := range there {
		_ = unix.Mount("/dev/null", p, "", unix.MS_BIND, "")
	}
}
