package world

import (
	"fmt"
	"net/netip"
	"testing"

	"lateen.dev/lateen/model"
)

func TestAllocatorGivesOutAllNumbersAndTakesThemBack(t *testing.T) {
	a := newAllocator()
	keyOf := func(i int) model.ServiceKey { return model.ServiceKey{Namespace: "n", Hostname: fmt.Sprint(i)} }
	seen := make(map[netip.Addr]bool, vipCount)
	range4, range6 := netip.MustParsePrefix("240.240.0.0/16"), netip.MustParsePrefix("2001:2::/48")
	for i := range vipCount {
		got := a.assign(keyOf(i))
		if len(got) != 2 || seen[got[0]] || !range4.Contains(got[0]) || !range6.Contains(got[1]) {
			t.Fatalf("service %d got %v", i, got)
		}
		seen[got[0]] = true
	}
	if seen[range4.Addr()] {
		t.Error("the network's own address was given out")
	}
	if got := a.assign(keyOf(vipCount)); got != nil {
		t.Errorf("one more than there are got %v", got)
	}
	freed := a.assign(keyOf(7))[0]
	a.release(keyOf(7))
	if got := a.assign(keyOf(vipCount)); len(got) == 0 || got[0] != freed {
		t.Errorf("after one was freed, the next got %v, want %v", got, freed)
	}
}
