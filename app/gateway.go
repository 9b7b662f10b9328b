package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"lateen.dev/lateen/app/dataplane"
	"lateen.dev/lateen/source/workload"
)

// GatewayOptions are the flags of `lateen proxy gateway`.
type GatewayOptions struct {
	Dir       string
	Namespace string
	Name      string
	Labels    map[string]string
	// HTTPPort is where HTTP is taken, at Bind, which is 127.0.0.1 unless set.
	HTTPPort int
	Bind     string
	// ServiceAccount of its identity; "default" if empty.
	ServiceAccount string
	// Restart is how another process takes over from this one; DrainTime is how long idle connections may stay then.
	Restart   dataplane.RestartFlags
	DrainTime time.Duration
	// Away is set if the control plane is on another machine.
	Away AwayOptions
	Log  LogOptions
}

// RestartFlags are Envoy's flags of a hot restart.
type RestartFlags = dataplane.RestartFlags

// declaredHTTPPorts are the ports that Gateway resources usually name for
// HTTP; they all mean the one port that the gateway has on this machine.
func declaredHTTPPorts() []uint32 { return []uint32{80, 8080} }

// RunGateway runs a gateway until ctx ends.
func RunGateway(ctx context.Context, o GatewayOptions) error {
	scopes, err := o.Log.scopes(os.Stderr)
	if err != nil {
		return err
	}
	bindAddress, err := netip.ParseAddr(firstOf(o.Bind, "127.0.0.1"))
	if err != nil {
		return fmt.Errorf("--bind-address: %w", err)
	}
	restart, err := o.Restart.Options()
	if err != nil {
		return err
	}
	// The port is tried here so that the error names its flag, unless it may be inherited.
	if restart.Path == "" || restart.First {
		l, err := net.Listen("tcp", net.JoinHostPort(bindAddress.String(), strconv.Itoa(o.HTTPPort)))
		if err != nil {
			return fmt.Errorf("gateway: %w; choose another port with --http-port", err)
		}
		l.Close()
	}
	c, err := joinAt(o.Dir, o.Away)
	if err != nil {
		return err
	}
	defer c.Close()
	joined, err := joinMesh(ctx, c, workload.Request{Namespace: o.Namespace, Service: o.Name, ServiceAccount: o.ServiceAccount, Labels: o.Labels, Gateway: true, PID: os.Getpid()})
	if err != nil {
		return err
	}
	config := sidecarConfig(joined, scopes)
	config.Gateway = true
	config.Restart, config.DrainTime = restart, o.DrainTime
	config.Token = tokenSource(c, joined, firstTokenLife)
	config.Metadata[metaBindAddress] = bindAddress.String()
	bind := map[uint32]uint32{uint32(o.HTTPPort): uint32(o.HTTPPort)}
	for _, port := range declaredHTTPPorts() {
		bind[port] = uint32(o.HTTPPort)
	}
	config.Metadata[metaBindPorts] = formatPorts(bind)
	return serveGateway(ctx, config, scopes.Logger("gateway"), dataplane.DrainTimes{Limit: joined.TerminationDrain})
}

// serveGateway runs a gateway until ctx ends, or another process has taken over and this one's connections have ended.
func serveGateway(ctx context.Context, config dataplane.Config, log *slog.Logger, drain dataplane.DrainTimes) error {
	g, err := dataplane.Start(ctx, config)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer g.Close()
	readyCtx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := g.WaitReady(readyCtx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("gateway is not ready: %w", err)
	}
	relieved := g.TakeOver()
	log.Info("gateway is ready", "admin", config.Admin)
	select {
	case <-relieved:
		return g.Fade(ctx, drain.Limit)
	case <-ctx.Done():
	case <-g.Quitting():
	}
	return g.Drain(context.WithoutCancel(ctx), drain)
}
