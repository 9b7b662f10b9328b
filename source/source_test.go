package source_test

import (
	"fmt"
	"testing"

	"lateen.dev/lateen/config"
	"lateen.dev/lateen/source"
)

func TestOverlay(t *testing.T) {
	object := func(name string, generation int64) *config.Object {
		return &config.Object{Key: config.Key{Kind: config.Service, Namespace: "default", Name: name}, Generation: generation}
	}
	var got string
	for _, o := range source.Overlay(
		[]*config.Object{object("b", 1)},
		[]*config.Object{object("c", 2), object("b", 2), object("a", 2)},
	) {
		got += fmt.Sprint(o.Name, o.Generation, " ")
	}
	if want := "a2 b1 c2 "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
