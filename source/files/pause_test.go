package files

import (
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestPause(t *testing.T) {
	const create, write, rename, remove = fsnotify.Create, fsnotify.Write, fsnotify.Rename, fsnotify.Remove
	type event = fsnotify.Event
	for _, c := range []struct {
		name   string
		events []event
		want   time.Duration
	}{
		{"written in place", []event{{Name: "a", Op: write}}, quiet},
		{"made and written", []event{{Name: "a", Op: create}, {Name: "a", Op: write}}, quiet},
		{"written beside, renamed", []event{{Name: ".a", Op: create}, {Name: ".a", Op: write}, {Name: ".a", Op: rename}, {Name: "a", Op: create}}, quietWhole},
		{"two of them", []event{{Name: ".a", Op: write}, {Name: ".a", Op: rename}, {Name: "a", Op: create}, {Name: ".b", Op: write},
			{Name: ".b", Op: rename}, {Name: "b", Op: create}}, quietWhole},
		{"another one is being written", []event{{Name: "b", Op: write}, {Name: ".a", Op: rename}, {Name: "a", Op: create}}, quiet},
		{"kept as a backup, made anew", []event{{Name: "a", Op: rename}, {Name: "a~", Op: create}, {Name: "a", Op: create}}, quiet},
		{"renamed, then written", []event{{Name: ".a", Op: rename}, {Name: "a", Op: create}, {Name: "a", Op: write}}, quiet},
		{"removed", []event{{Name: "a", Op: remove}}, quietWhole},
	} {
		r := &run{dirty: map[string]bool{}, writing: map[string]bool{}}
		for _, e := range c.events {
			r.note(e)
		}
		if got := r.pause(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
