//go:build !race

package main

// buildFlags build the control plane as this test is built.
var buildFlags []string
