package app

import "context"

// BootstrapOptions are the flags of `lateen proxy envoy`.
type BootstrapOptions struct {
	File string
	Log  LogOptions
}

// RunBootstrap runs a proxy from an Envoy bootstrap file until ctx ends.
func RunBootstrap(ctx context.Context, o BootstrapOptions) error { return nil }
