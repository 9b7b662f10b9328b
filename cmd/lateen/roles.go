package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lateen.dev/lateen/app"
	"lateen.dev/lateen/cli"
)

// dirFlag is the root command's --dir.
func dirFlag(cmd *cobra.Command) string {
	f := cmd.Flag("dir")
	if f == nil {
		panic("the root command has no --dir")
	}
	return f.Value.String()
}

func namespaceFlag(cmd *cobra.Command) string {
	f := cmd.Flag("namespace")
	if f == nil {
		panic("the root command has no --namespace")
	}
	return f.Value.String()
}

// logFlags are shared by the roles that log.
type logFlags struct {
	level string
	json  bool
}

func (f *logFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.level, "log-level", "info", "trace, debug, info, warning, error or off")
	cmd.Flags().BoolVar(&f.json, "log-as-json", false, "log in JSON lines")
}

func (f *logFlags) options() app.LogOptions { return app.LogOptions{Level: f.level, JSON: f.json} }

func controlCommand(env app.Environment) *cobra.Command {
	var o app.ControlOptions
	var log logFlags
	cmd := &cobra.Command{
		Use:     "control",
		Short:   "Run the control plane",
		GroupID: cli.GroupRoles,
		Long: "Reads Istio's configuration from the directory's config/ folder and follows changes there, serves discovery\n" +
			"and certificates to proxies, and the local API to the other commands. Listens on loopback only, unless --listen\n" +
			"names more: proxies on other machines connect there over TLS, and each has to prove its identity, by a token or\n" +
			"by its certificate.",
		Example: "  lateen control\n  lateen control --dir /srv/mesh --control-port 16010\n  lateen control --listen 0.0.0.0:15012",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Dir, o.Log = dirFlag(cmd), log.options()
			return app.RunControl(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Port, "control-port", 15010, "discovery in plain text here, over TLS at +2, health, metrics and debug pages at +4")
	f.StringArrayVar(&o.Listen, "listen", nil, "also serve proxies of other machines, over TLS, at HOST:PORT (may be repeated)")
	f.StringArrayVar(&o.ServingNames, "serving-name", nil, "a further name or address for the control plane's certificate (may be repeated)")
	f.StringVar(&o.ConfigDir, "config-dir", "", "read (and apply to) this directory instead of DIR/config")
	f.StringVar(&o.CACerts, "ca-certs", "", "directory with ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem, instead of a self-signed root")
	f.DurationVar(&o.CertTTL, "workload-cert-ttl", 0, "life of workload certificates (default 24h)")
	f.StringVar(&o.TrustDomain, "trust-domain", "cluster.local", "the trust domain of all identities")
	f.BoolVar(&o.HTTP10, "http10", env.HTTP10, "have all proxies accept HTTP/1.0, not only those with HTTP10 in their metadata; PILOT_HTTP10=1 does so, too")
	discoveryFlags(cmd, &o.Discovery)
	consulFlags(cmd, &o.Consul)
	log.add(cmd)
	return cmd
}

// discoveryFlags are those of what discovery clients may use up.
func discoveryFlags(cmd *cobra.Command, l *app.DiscoveryLimits) {
	f := cmd.Flags()
	f.Var(&mebibytes{&l.HeldBytes}, "xds-subscriptions-mib", "MiB of memory for the names that all clients subscribe to; who asks for more is refused (default 1024)")
	f.Var(&mebibytes{&l.QueuedBytes}, "xds-queued-mib", "MiB of memory for responses that wait for one client alone: debug pages, and virtual hosts in state-of-the-world; who adds to more is sent away (default 256)")
	f.DurationVar(&l.SendTimeout, "xds-send-timeout", 20*time.Second, "a client that has not taken a response by then, and for 1 s more per 128 KiB, is sent away")
}

// mebibytes is a flag whose value is given in MiB and held in bytes.
type mebibytes struct{ bytes *int }

// String implements pflag.Value.
func (m *mebibytes) String() string {
	if m.bytes == nil || *m.bytes == 0 {
		return ""
	}
	return strconv.Itoa(*m.bytes >> 20)
}

// Set implements pflag.Value.
func (m *mebibytes) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is not a number of MiB", s)
	}
	*m.bytes = int(n) << 20
	return nil
}

// Type implements pflag.Value.
func (*mebibytes) Type() string { return "mib" }

// consulFlags are those of Consul's own command, with its name before them.
func consulFlags(cmd *cobra.Command, o *app.ConsulOptions) {
	f := cmd.Flags()
	f.StringVar(&o.Address, "consul-http-addr", "", "read services from this Consul: HOST:PORT, http(s)://HOST:PORT or unix:///PATH")
	f.StringSliceVar(&o.Datacenters, "consul-datacenter", nil, "a Consul datacenter to read, may be repeated (default: the agent's own)")
	f.StringVar(&o.Namespace, "consul-namespace", "", "the Consul namespace to read")
	f.StringVar(&o.Partition, "consul-partition", "", "the Consul admin partition to read")
	f.StringVar(&o.TokenFile, "consul-token-file", "", "file with the Consul ACL token; it is read again when it changes")
	f.StringVar(&o.CAFile, "consul-ca-file", "", "file with the CA of Consul's certificate, for https")
	f.StringVar(&o.CertFile, "consul-client-cert", "", "file with the client certificate for Consul, for https")
	f.StringVar(&o.KeyFile, "consul-client-key", "", "file with that certificate's key")
	f.StringVar(&o.Domain, "consul-domain", "consul", "the domain of Consul's names: services are NAME.service.DOMAIN")
	f.IntVar(&o.Watches, "consul-watches", 128, "how many questions may wait at Consul at one time; below its limits.http_max_conns_per_client")
}

func runCommand() *cobra.Command {
	var o app.RunOptions
	var log logFlags
	var ports, labels []string
	var drain, shutdown *int
	var onDemand bool
	cmd := &cobra.Command{
		Use:     "run --service NAME [--port PORT…] [flags] -- COMMAND [ARG…]",
		Short:   "Run a program in the mesh, with its own sidecar and identity",
		GroupID: cli.GroupRoles,
		Long: "Starts the program in a network namespace of its own that has nothing but loopback: all it sends goes\n" +
			"through its sidecar, without the program knowing and without root. Its output, exit code and signals are\n" +
			"passed through. Where namespaces are forbidden it gets HTTP_PROXY instead, and is told so.",
		Example: "  lateen run --service reviews --version v1 --port 9080 -- ./reviews\n" +
			"  lateen run --service db --port 5432:tcp -- postgres -D data\n" +
			"  lateen run --service client -- curl http://reviews:9080/reviews/0   # serves nothing, needs no port",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name the program after --, for example: lateen run --service web --port 8080 -- ./web")
			}
			var err error
			if o.Ports, err = parsePorts(ports); err != nil {
				return err
			}
			if o.Labels, err = parseLabels(labels); err != nil {
				return err
			}
			if cmd.Flags().Changed("on-demand") {
				o.OnDemand = strconv.FormatBool(onDemand)
			}
			o.Dir, o.Namespace, o.Command, o.Log = dirFlag(cmd), namespaceFlag(cmd), args, log.options()
			o.DrainTime, o.ParentShutdown = seconds(drain), seconds(shutdown)
			return app.RunWorkload(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.Service, "service", "", "the service that the program serves, or its name if it only calls others")
	f.StringVar(&o.Version, "version", "", "the program's version: its label for subsets")
	f.StringArrayVar(&ports, "port", nil, "a port that the program serves, PORT or PORT:NAME; the name's prefix is the protocol, as in Istio (http, grpc, tcp…)")
	f.StringVar(&o.ServiceAccount, "service-account", "", "the identity's service account (default: the service's name)")
	f.StringArrayVar(&labels, "label", nil, "a further label, NAME=VALUE")
	f.StringVar(&o.Locality, "locality", "", "REGION/ZONE/SUBZONE")
	f.BoolVar(&onDemand, "on-demand", false, "the sidecar asks for what the program calls, instead of holding the whole mesh; --on-demand=false switches it off where the mesh has it (default: as the mesh says)")
	f.StringVar(&o.LogFile, "log-file", "", "the sidecar's log (default: DIR/log/NAME-sidecar.log)")
	awayFlags(cmd, &o.Away)
	f.StringVar(&o.Away.Group, "workload-group", "", "with --control-address: the WorkloadGroup as one of which the workload registers itself; without it a WorkloadEntry must say that it is there")
	drain, shutdown = takeOverTimes(cmd)
	f.BoolVar(&o.Explicit, "explicit-proxy", false, "do not capture: give the program HTTP_PROXY instead")
	log.add(cmd)
	if err := cmd.MarkFlagRequired("service"); err != nil {
		panic(fmt.Sprintf("flag that was just added: %v", err))
	}
	return cmd
}

// takeOverTimes are how long a process goes on that another one has taken over from, in seconds: as Envoy's flags.
func takeOverTimes(cmd *cobra.Command) (drain, shutdown *int) {
	f := cmd.Flags()
	drain = f.Int("drain-time-s", 45, "seconds for which idle connections stay with a proxy that another one has taken over from")
	shutdown = f.Int("parent-shutdown-time-s", 60, "seconds after which such a proxy ends, with the connections that are left")
	return drain, shutdown
}

func seconds(n *int) time.Duration { return time.Duration(*n) * time.Second }

// restartFlags are Envoy's for a hot restart. The result reads them.
func restartFlags(cmd *cobra.Command) func() (app.RestartFlags, time.Duration) {
	var o app.RestartFlags
	f := cmd.Flags()
	f.StringVar(&o.SocketPath, "socket-path", "", "the unix socket at which a new process takes over from this one (hot restart)")
	f.StringVar(&o.SocketMode, "socket-mode", "600", "its permissions, octal; other users are turned away in any case")
	f.IntVar(&o.BaseID, "base-id", 0, "a number that is added to --socket-path, to tell proxies of one machine apart")
	f.IntVar(&o.Epoch, "restart-epoch", -1, "0 for the first process, 1 and more for one that takes over; -1 for whichever it is")
	f.BoolVar(&o.SkipNoParent, "skip-hot-restart-on-no-parent", false, "start afresh if there is nothing to take over from")
	f.BoolVar(&o.Disable, "disable-hot-restart", false, "ignore --socket-path")
	drain, shutdown := takeOverTimes(cmd)
	return func() (app.RestartFlags, time.Duration) {
		o.ParentShutdownSeconds = *shutdown
		return o, seconds(drain)
	}
}

// awayFlags are those of a proxy whose control plane is on another machine.
func awayFlags(cmd *cobra.Command, o *app.AwayOptions) {
	controlFlags(cmd, o)
	f := cmd.Flags()
	f.StringVar(&o.Address, "address", "", "with --control-address: this machine's address, where others reach the workload (default: the one that leads there)")
	f.Uint16Var(&o.AdminPort, "admin-port", 15000, "with --control-address: where the proxy's admin pages are, on 127.0.0.1")
}

// controlFlags say how a control plane on another machine is reached.
func controlFlags(cmd *cobra.Command, o *app.AwayOptions) {
	f := cmd.Flags()
	f.StringVar(&o.Control, "control-address", "", "the control plane on another machine, HOST:PORT of its --listen; without it, the one of --dir")
	f.StringVar(&o.RootFile, "root-cert", "", "with --control-address: file with the mesh's root certificate")
	f.StringVar(&o.TokenFile, "token-file", "", "with --control-address: file with a token that proves the service account")
	f.StringVar(&o.TrustDomain, "trust-domain", "cluster.local", "with --control-address: the mesh's trust domain")
}

func parsePorts(list []string) ([]app.Port, error) {
	var ports []app.Port
	for _, s := range list {
		number, name, _ := strings.Cut(s, ":")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("--port %q is not PORT or PORT:NAME", s)
		}
		ports = append(ports, app.Port{Number: uint16(n), Name: name})
	}
	return ports, nil
}

func parseLabels(list []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, s := range list {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--label %q is not NAME=VALUE", s)
		}
		labels[name] = value
	}
	return labels, nil
}

func proxyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "proxy",
		Short:   "Run a proxy of its own: a gateway, or one from an Envoy bootstrap file",
		GroupID: cli.GroupRoles,
	}
	cmd.AddCommand(gatewayCommand(), bootstrapCommand(), agentCommand())
	return cmd
}

func gatewayCommand() *cobra.Command {
	var o app.GatewayOptions
	var log logFlags
	var labels []string
	var restart func() (app.RestartFlags, time.Duration)
	cmd := &cobra.Command{
		Use:   "gateway",
		Short: "Run a gateway for Gateway resources that select istio: ingressgateway",
		Long: "Takes requests from outside on --http-port for the HTTP servers of the Gateway resources that select its\n" +
			"labels, whatever port they name, and sends them into the mesh.",
		Example: "  lateen proxy gateway\n  lateen proxy gateway --http-port 9000 --label istio=egressgateway",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Labels, err = parseLabels(labels); err != nil {
				return err
			}
			o.Dir, o.Namespace, o.Log = dirFlag(cmd), namespaceFlag(cmd), log.options()
			o.Restart, o.DrainTime = restart()
			return app.RunGateway(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.HTTPPort, "http-port", 8080, "where to take HTTP")
	f.StringVar(&o.Bind, "bind-address", "127.0.0.1", "the address at which to take it; 0.0.0.0 for every one of the machine")
	f.StringVar(&o.ServiceAccount, "service-account", "default", "the identity's service account")
	awayFlags(cmd, &o.Away)
	restart = restartFlags(cmd)
	f.StringVar(&o.Name, "name", "istio-ingressgateway", "the gateway's name")
	f.StringArrayVar(&labels, "label", []string{"istio=ingressgateway"}, "a label by which Gateway resources select it, NAME=VALUE")
	log.add(cmd)
	return cmd
}

func agentCommand() *cobra.Command {
	var o app.AgentOptions
	var log logFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Keep a certificate for the stock Envoy beside it, and serve it over SDS",
		Long: "Obtains a certificate for the service account, renews it in time, and serves it with the mesh's roots, as the\n" +
			"secrets default and ROOTCA, at a unix socket (0600). An Envoy whose bootstrap has a static cluster at that socket,\n" +
			"and names it in its node's metadata as SDS_CLUSTER, takes part in the mesh's mutual TLS; the key never leaves\n" +
			"the machine.",
		Example: "  lateen proxy agent --service-account web\n  lateen proxy agent --service-account web --socket /run/web/sds.sock",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Dir, o.Namespace, o.Log = dirFlag(cmd), namespaceFlag(cmd), log.options()
			return app.RunAgent(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.ServiceAccount, "service-account", "default", "the identity's service account")
	f.StringVar(&o.Socket, "socket", "", "where to serve the secrets (default: DIR/sds.sock)")
	controlFlags(cmd, &o.Away)
	log.add(cmd)
	return cmd
}

func bootstrapCommand() *cobra.Command {
	var o app.BootstrapOptions
	var log logFlags
	var restart func() (app.RestartFlags, time.Duration)
	cmd := &cobra.Command{
		Use:     "envoy -c FILE",
		Short:   "Run a proxy from an Envoy bootstrap file",
		Example: "  lateen proxy envoy -c bootstrap.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Log = log.options()
			o.Restart, o.DrainTime = restart()
			return app.RunBootstrap(cmd.Context(), o)
		},
	}
	restart = restartFlags(cmd)
	cmd.Flags().StringVarP(&o.File, "config-path", "c", "", "the bootstrap file, YAML or JSON")
	log.add(cmd)
	if err := cmd.MarkFlagRequired("config-path"); err != nil {
		panic(fmt.Sprintf("flag that was just added: %v", err))
	}
	return cmd
}

func demoCommand() *cobra.Command {
	var o app.DemoOptions
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Run Istio's Bookinfo in a whole mesh on this machine",
		GroupID: cli.GroupRoles,
		Long: "Starts a control plane, a gateway and Bookinfo's six programs, each its own process with its own sidecar\n" +
			"and identity. Needs no root, no containers and no Kubernetes. Ctrl-C ends everything.",
		Example: "  lateen demo\n  lateen demo --gateway-port 9000 --control-port 16010 --dir /tmp/mesh\n  lateen demo --check",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Dir, o.Out = dirFlag(cmd), cmd.OutOrStdout()
			return app.RunDemo(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.GatewayPort, "gateway-port", 8080, "where the gateway takes HTTP, on 127.0.0.1")
	f.IntVar(&o.ControlPort, "control-port", 15010, "the control plane's first port; it takes +0, +2 and +4")
	f.BoolVar(&o.Check, "check", false, "try everything, print what was seen, end; fail if anything did")
	return cmd
}

// sidecarProcessCommand is what `lateen run` starts when its sidecar is restarted. It is not for people.
func sidecarProcessCommand() *cobra.Command {
	return &cobra.Command{
		Use:    app.SidecarCommand,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return app.RunSidecar(cmd.Context()) },
	}
}

// sampleCommand runs a sample application's program, so that the demo needs
// this binary alone. It is not for people, who have bin/bookinfo.
func sampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "sample",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE:               func(cmd *cobra.Command, args []string) error { return app.RunSample(cmd.Context(), args) },
	}
}
