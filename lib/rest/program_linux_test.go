package rest

import (
	"os"
	"strings"
	"testing"
)

func TestUnchanged(t *testing.T) {
	const smaps = `00400000-01200000 r-xp 00000000 fe:00 77 /opt/a b/proxy
Rss: 900 kB
Private_Dirty:       900 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me sd
01200000-01300000 r--p 00e00000 fe:00 77 /opt/a b/proxy
Private_Dirty:         4 kB
Anonymous:             4 kB
01300000-01400000 r--p 00f00000 fe:00 77 /opt/a b/proxy
Private_Dirty:         0 kB
Anonymous:             0 kB
01400000-01500000 rw-p 01000000 fe:00 77 /opt/a b/proxy
Private_Dirty:         0 kB
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 78 /lib/other
Private_Dirty:         0 kB
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
`
	got, err := unchanged(strings.NewReader(smaps), "/opt/a b/proxy")
	want := []mapping{{0x400000, 0x1200000}, {0x1300000, 0x1400000}}
	if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%x, %v; want %x", got, err, want)
	}
}

func TestReleaseProgram(t *testing.T) {
	status, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if list, err := unchanged(strings.NewReader(string(status)), path); err != nil || len(list) == 0 {
		t.Errorf("%v, %v: nothing of the program is found", list, err)
	}
	for range 3 { // the program goes on
		if err := releaseProgram(); err != nil {
			t.Fatal(err)
		}
	}
}
