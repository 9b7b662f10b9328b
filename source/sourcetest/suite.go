package sourcetest

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"lateen.dev/lateen/config"
)

// objects is what is live.
type objects = map[config.Key]*config.Object

// Run checks a source. fixture makes a fresh, empty one per test.
func Run(t *testing.T, fixture func(t *testing.T) Fixture) {
	for name, check := range map[string]func(*testing.T, Fixture){
		"empty":               empty,
		"changes":             changes,
		"broken object":       brokenObject,
		"restart":             restart,
		"failure":             failure,
		"ended while failing": endedWhileFailing,
		"ended at once":       endedAtOnce,
	} {
		t.Run(name, func(t *testing.T) {
			already := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, already) }) // runs after all that the fixture cleans up
			check(t, fixture(t))
		})
	}
}

func empty(t *testing.T, f Fixture) {
	if f.Source.Name() == "" {
		t.Error("the source has no name")
	}
	r, _ := Start(t, f.Source)
	r.Until("the first batch came", func(live objects) bool { return len(live) == 0 })
	if ps := f.Source.Problems(); ps.HasErrors() {
		t.Errorf("an empty source complains: %v", ps)
	}
}

func changes(t *testing.T, f Fixture) {
	for i := range 5 {
		f.Put(fmt.Sprint("before", i), 1)
	}
	r, _ := Start(t, f.Source)
	r.Until("the first objects came", func(live objects) bool { return f.count(live) == 5 })
	old := f.find(r.Live(), "before0")
	f.Put("during", 1)
	f.Put("before0", 2)
	f.Delete("before1")
	r.Until("the changes came", func(live objects) bool {
		now := f.find(live, "before0")
		return f.find(live, "during") != nil && f.find(live, "before1") == nil && now != nil && !now.SameContent(old)
	})
	if now := f.find(r.Live(), "before0"); now.ResourceVersion == old.ResourceVersion {
		t.Errorf("resource version %q after %q", now.ResourceVersion, old.ResourceVersion)
	}
	for i := range 5 {
		if i != 1 {
			f.Delete(fmt.Sprint("before", i))
		}
	}
	f.Delete("during")
	r.Until("nothing was left", func(live objects) bool { return f.count(live) == 0 })
	f.Put("before0", 3)
	r.Until("one was there again", func(live objects) bool { return f.count(live) == 1 })
}

// brokenObject: the last good version stays, the others go on, and the complaint
// says which object it is about and where it comes from.
func brokenObject(t *testing.T, f Fixture) {
	if f.Break == nil {
		return
	}
	f.Put("a", 1)
	f.Put("b", 1)
	r, _ := Start(t, f.Source)
	r.Until("the objects came", func(live objects) bool { return f.count(live) == 2 })
	f.Break("a")
	f.Put("b", 2)
	r.Until("the other object changed", func(live objects) bool {
		b := f.find(live, "b")
		return b != nil && b.Generation == 2
	})
	untilProblems(t, f.Source, true)
	for _, p := range f.Source.Problems().AtLeast(config.Error) {
		if p.Object.Name != "a" || p.Position.File == "" || p.Message == "" || p.Code == "" {
			t.Errorf("the complaint lacks something: %+v", p)
		}
	}
	if a := f.find(r.Live(), "a"); a == nil || a.Generation != 1 {
		t.Errorf("the broken object is %v", a)
	}
	f.Put("a", 3)
	r.Until("the mended object came", func(live objects) bool { return f.find(live, "a").Generation == 2 })
	untilProblems(t, f.Source, false)
}

// restart: a new Run tells the whole of what there is, what changed meanwhile
// included, with the contents that it had before.
func restart(t *testing.T, f Fixture) {
	f.Put("a", 1)
	f.Put("b", 1)
	r, stop := Start(t, f.Source)
	r.Until("the objects came", func(live objects) bool { return f.count(live) == 2 })
	before := f.find(r.Live(), "a")
	stop()
	f.Put("c", 1)
	f.Delete("b")
	again := f.Restart()
	if again.Name() != f.Source.Name() {
		t.Errorf("the source %s is called %s now", f.Source.Name(), again.Name())
	}
	r, _ = Start(t, again)
	r.Until("all is there", func(live objects) bool {
		return f.count(live) == 2 && f.find(live, "a") != nil && f.find(live, "c") != nil
	})
	if a := f.find(r.Live(), "a"); !a.SameContent(before) || a.ResourceVersion != before.ResourceVersion {
		t.Errorf("after the restart %v (%s), before %v (%s)", a, a.ResourceVersion, before, before.ResourceVersion)
	}
}

// failure: what was live stays live and the failure can be seen; what changed
// meanwhile comes when it is over, and what is gone goes.
func failure(t *testing.T, f Fixture) {
	if f.Fail == nil {
		return
	}
	f.Put("a", 1)
	f.Put("b", 1)
	r, _ := Start(t, f.Source)
	r.Until("the objects came", func(live objects) bool { return f.count(live) == 2 })
	for round := range 2 {
		f.Fail()
		untilProblems(t, f.Source, true)
		for _, p := range f.Source.Problems().AtLeast(config.Error) {
			if p.Position.File == "" || p.Message == "" || p.Code == "" {
				t.Errorf("the complaint lacks something: %+v", p)
			}
		}
		if live := r.Live(); f.count(live) != 2 {
			t.Errorf("after the failure %v is live", live)
		}
		gone, come := fmt.Sprint("c", round-1), fmt.Sprint("c", round)
		if round == 0 {
			gone = "b"
		}
		f.Delete(gone)
		f.Put(come, 1)
		f.Mend()
		r.Until("the changes came", func(live objects) bool {
			return f.count(live) == 2 && f.find(live, gone) == nil && f.find(live, come) != nil
		})
		untilProblems(t, f.Source, false)
	}
}

func endedWhileFailing(t *testing.T, f Fixture) {
	if f.Fail == nil {
		return
	}
	r, stop := Start(t, f.Source)
	r.Until("the first batch came", func(objects) bool { return true })
	f.Fail()
	untilProblems(t, f.Source, true)
	stop()
}

// endedAtOnce: who is asked to end before the beginning does not wait for it.
func endedAtOnce(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Source.Run(ctx, NewRecorder(t)); err != nil {
		t.Errorf("Run returned %v", err)
	}
}
