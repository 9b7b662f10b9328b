package capture

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// netInode identifies the network namespace that a process is in.
func netInode(pid int) (uint64, error) {
	var st unix.Stat_t
	path := "/proc/" + strconv.Itoa(pid) + "/ns/net"
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("the network namespace of process %d: %w", pid, err)
	}
	return st.Ino, nil
}

// killRounds bounds the hunt for processes that fork while they are hunted.
const killRounds = 100

// killInside kills every process in a network namespace but one, and waits
// for their end. It is how children that have left their parent's process
// group or were orphaned are found.
func killInside(inode uint64, spare int) {
	for range killRounds {
		pids, err := processes()
		if err != nil {
			return
		}
		found := false
		for _, pid := range pids {
			if pid != spare && killIfInside(pid, inode) {
				found = true
			}
		}
		if !found {
			return
		}
	}
}

func processes() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// killIfInside holds the process by a descriptor before it looks, so that it
// can't hit a later process of the same number.
func killIfInside(pid int, inode uint64) bool {
	if got, err := netInode(pid); err != nil || got != inode {
		return false // also when it has ended, or belongs to somebody else
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if got, err := netInode(pid); err != nil || got != inode {
		return false
	}
	if unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
		return false
	}
	const patience = 1000 // milliseconds; a process in disk sleep dies later
	for {
		// The runtime's own signals interrupt a poll; poll(2) is never restarted.
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, patience); err != unix.EINTR {
			return true
		}
	}
}
