package main

import (
	"flag"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	r := roleFlags()
	flag.Parse()
	if code, is := r.play(); is {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// TestSoak is the short form.
func TestSoak(t *testing.T) {
	if err := soak(t.Context(), options{duration: 12 * time.Second, load: 0.7}, t.Output()); err != nil {
		t.Error(err)
	}
}
