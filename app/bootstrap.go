package app

import (
	"context"
	"os"
	"time"

	"lateen.dev/lateen/app/dataplane"
)

// BootstrapOptions are the flags of `lateen proxy envoy`.
type BootstrapOptions struct {
	File string
	Log  LogOptions
	// Restart is how another process takes over from this one; DrainTime is how long idle connections may stay then.
	Restart   dataplane.RestartFlags
	DrainTime time.Duration
}

// bootstrapDrain is how long open connections may take when the proxy stops.
const bootstrapDrain = 5 * time.Second

// RunBootstrap runs a proxy from an Envoy bootstrap file until ctx ends, or another process has taken over.
func RunBootstrap(ctx context.Context, o BootstrapOptions) error {
	scopes, err := o.Log.scopes(os.Stderr)
	if err != nil {
		return err
	}
	restart, err := o.Restart.Options()
	if err != nil {
		return err
	}
	return dataplane.RunBootstrap(ctx, dataplane.BootstrapOptions{File: o.File, Version: version, Scopes: scopes,
		Drain: dataplane.DrainTimes{Limit: bootstrapDrain}, DrainTime: o.DrainTime, Restart: restart})
}
