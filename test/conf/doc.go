// Package conf writes the pieces of configuration that several tests need: listeners and clusters of an Envoy bootstrap,
// and Istio resources that change.
//
// Who calls it: test/lifecycle, test/e2e and test/soak. Its functions return text and start nothing.
//
// May import: nothing of ours.
package conf
