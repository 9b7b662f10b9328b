package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/source/api"
)

// outsideAddress is one of this machine that is not loopback.
func outsideAddress(t *testing.T) string {
	t.Helper()
	all, err := ownAddresses()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if ip := net.ParseIP(a); ip != nil && ip.To4() != nil {
			return a
		}
	}
	t.Fatal("this machine has no address but loopback")
	return ""
}

// freePort finds one that is free with those 2 and 4 above it.
func freePort(t *testing.T) int {
	t.Helper()
	for port := 23000 + os.Getpid()%1000*4; port < 32000; port += 6 {
		if slices.ContainsFunc([]int{port, port + 2, port + 4}, func(p int) bool {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if err == nil {
				l.Close()
			}
			return err != nil
		}) {
			continue
		}
		return port
	}
	t.Fatal("no free ports")
	return 0
}

// until asks again and again, for twenty seconds.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline, tick := time.Now().Add(20*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			t.Fatal("in vain: " + what)
		}
		<-tick.C
	}
}

// A proxy reaches a control plane at an address that is not loopback, with nothing
// but a root certificate and a token, and is who the token says.
func TestProxyOfAnotherMachine(t *testing.T) {
	dir, err := os.MkdirTemp("", "lateen-away-") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	outside, port := outsideAddress(t), freePort(t)
	listen := net.JoinHostPort(outside, fmt.Sprint(port+2))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	roles := 1
	defer func() {
		cancel()
		for range roles {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()
	go func() { ended <- RunControl(ctx, ControlOptions{Dir: dir, Port: port, Listen: []string{listen}}) }()
	local := api.NewClient(filepath.Join(dir, cli.SocketName))
	defer local.Close()
	var granted cli.CredentialsResponse
	until(t, "the local API", func() bool {
		return local.Call(ctx, http.MethodPost, cli.PathCredentials, cli.CredentialsRequest{Namespace: "edge", ServiceAccount: "door", TTL: time.Hour}, &granted) == nil
	})
	token, root := filepath.Join(dir, "token"), filepath.Join(dir, "root.pem")
	for file, text := range map[string]string{token: granted.Token, root: granted.Root} {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := GatewayOptions{Dir: "/nowhere", Namespace: "edge", Name: "door", ServiceAccount: "door", HTTPPort: freePort(t) + 1, Bind: outside,
		Away: AwayOptions{Control: listen, RootFile: root, TokenFile: token, TrustDomain: "cluster.local", AdminPort: uint16(freePort(t) + 3)}}
	go func() { ended <- RunGateway(ctx, o) }()
	roles++
	var all cli.ProxiesResponse
	until(t, "the gateway's configuration", func() bool {
		return local.Call(ctx, http.MethodGet, cli.PathProxies, nil, &all) == nil && len(all.Proxies) == 1 && all.Proxies[0].Revision > 0
	})
	if p := all.Proxies[0]; p.Name != "door.edge" || p.Identity != "spiffe://cluster.local/ns/edge/sa/door" || p.Address != outside || p.Admin {
		t.Errorf("it is %+v", p)
	}
	// The port speaks TLS to whom it shows its own names, and nothing else.
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(granted.Root))
	for _, name := range []string{outside, "istiod.istio-system.svc"} {
		conn, err := tls.Dial("tcp", listen, &tls.Config{RootCAs: pool, ServerName: name, NextProtos: []string{"h2"}})
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		conn.Close()
	}
	p := &ports{authority: nil, plain: listen}
	if _, err := p.ask(t, caller{port: listen, node: nodeOf("door.edge", "edge", "door")}, "x"); err == nil {
		t.Error("plain text was answered at an address that is not loopback")
	}
}

func TestAwayFlags(t *testing.T) {
	dir := t.TempDir()
	empty, root := filepath.Join(dir, "empty"), filepath.Join(dir, "root")
	for file, text := range map[string]string{empty: "\n", root: "no certificate"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		o    AwayOptions
		says string
	}{
		{AwayOptions{Control: "h:1"}, "--root-cert and --token-file"},
		{AwayOptions{Control: "h", RootFile: root, TokenFile: empty}, "HOST:PORT"},
		{AwayOptions{Control: "h:1", RootFile: filepath.Join(dir, "none"), TokenFile: empty}, "--root-cert"},
		{AwayOptions{Control: "h:1", RootFile: root, TokenFile: empty}, "no certificate"},
	} {
		if _, err := newAway(c.o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.says)
		}
	}
	for address, says := range map[string]string{"plain://0.0.0.0:15010": "over TLS only", "0.0.0.0": "HOST:PORT", "10.0.0.1:": "HOST:PORT"} {
		if _, err := listenAway(address); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("--listen %s: %v, want %q", address, err, says)
		}
	}
	for _, c := range []struct {
		listen, want string
	}{{"10.1.2.3:15012", "10.1.2.3"}, {"control.example:15012", "control.example"}, {":15012", outsideAddress(t)}, {"0.0.0.0:15012", outsideAddress(t)}} {
		o := ControlOptions{Listen: []string{c.listen}, ServingNames: []string{"mesh.example"}}
		if hosts, err := o.servingHosts(); err != nil || !slices.Contains(hosts, c.want) || !slices.Contains(hosts, "mesh.example") || !slices.Contains(hosts, "localhost") {
			t.Errorf("--listen %s: the certificate is for %v, %v", c.listen, hosts, err)
		}
	}
}
