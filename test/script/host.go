package script

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"lateen.dev/lateen/test/kit"
)

// hostWords are the settings of host, and workloadWords those that workload has besides.
func hostWords() []string {
	return []string{"namespace", "service-account", "labels", "proxy", "locality", "version", "listen", "opens"}
}

func workloadWords() []string { return append(hostWords(), "port", "protocol", "target", "name") }

func (r *run) host(words []string) error {
	s := parseSettings(words[1:])
	if err := s.only(hostWords()...); err != nil {
		return err
	}
	spec, err := spec(words[0], s, r.mode.Client)
	if err != nil {
		return err
	}
	return r.add(spec)
}

func (r *run) add(spec kit.Spec) error {
	h, err := r.mesh.AddHost(spec)
	if err != nil {
		return err
	}
	if r.started {
		return r.change(func() error { return r.mesh.Start(r.t.Context(), h) })
	}
	return nil
}

// spec reads what host and workload have in common.
func spec(name string, s settings, engine kit.Engine) (kit.Spec, error) {
	out := kit.Spec{Name: name, Namespace: s.get("namespace", "default"), ServiceAccount: s.get("service-account", name), Locality: s.get("locality", ""),
		Version: s.get("version", ""), Engine: engine, Labels: map[string]string{}}
	switch p := s.get("proxy", "sidecar"); p {
	case "sidecar":
	case "gateway":
		out.Gateway = true
	case "none":
		out.Engine = kit.None
	default:
		return out, fmt.Errorf("proxy=%s", p)
	}
	for _, l := range strings.Split(s.get("labels", ""), ",") {
		if k, v, ok := strings.Cut(l, "="); ok {
			out.Labels[k] = v
		}
	}
	for _, p := range s.values["opens"] {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return out, fmt.Errorf("opens=%s: %w", p, err)
		}
		out.Opens = append(out.Opens, uint16(n))
	}
	if l := s.get("listen", ""); l != "" {
		for _, p := range strings.Split(l, ",") {
			number, protocol, _ := strings.Cut(p, "/")
			n, err := strconv.ParseUint(number, 10, 16)
			if err != nil {
				return out, fmt.Errorf("listen=%s: %w", l, err)
			}
			out.Ports = append(out.Ports, kit.Port{Number: uint16(n), Protocol: protocol})
		}
	}
	return out, nil
}

func (r *run) workload(words []string) error {
	service := words[0]
	s := parseSettings(words[1:])
	if err := s.only(workloadWords()...); err != nil {
		return err
	}
	name, version := service, s.get("version", "")
	if version != "" {
		name += "-" + version
	}
	spec, err := spec(s.get("name", name), s, r.mode.Server)
	if err != nil {
		return err
	}
	if !s.has("service-account") {
		spec.ServiceAccount = service
	}
	spec.Labels["app"] = service
	if version != "" {
		spec.Labels["version"] = version
	}
	port, protocol := s.get("port", "9080"), s.get("protocol", "http")
	target := s.get("target", port)
	n, err := strconv.ParseUint(target, 10, 16)
	if err != nil {
		return fmt.Errorf("port %q: %w", target, err)
	}
	spec.Ports = append(spec.Ports, kit.Port{Number: uint16(n), Protocol: strings.TrimPrefix(protocol, "auto-")})
	if err := r.service(service, spec.Namespace, port, target, protocol); err != nil {
		return err
	}
	return r.add(spec)
}

// service makes the Kubernetes Service of a workload, unless there is one.
func (r *run) service(name, namespace, port, target, protocol string) error {
	if r.services[namespace+"/"+name] {
		return nil
	}
	r.services[namespace+"/"+name] = true
	r.vips++
	portName := protocol + "-" + port
	switch {
	case strings.HasPrefix(protocol, "auto"):
		portName = "port-" + port
	case protocol == "tcp-first":
		portName = "tcp-" + port
	}
	vip := netip.AddrFrom4([4]byte{10, 20, 0, byte(r.vips)})
	yaml := fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec:\n  clusterIP: %s\n  selector: {app: %s}\n"+
		"  ports: [{name: %s, port: %s, targetPort: %s}]\n", name, namespace, vip, name, portName, port, target)
	return r.mesh.Control.Apply(kit.File{Name: "service-" + name + ".yaml", Data: yaml})
}

func (r *run) dns(words []string) error {
	var addrs []netip.Addr
	for _, w := range words[1:] {
		h := r.mesh.Host(w)
		if h == nil {
			return fmt.Errorf("no host %q", w)
		}
		addrs = append(addrs, h.Addr)
	}
	r.mesh.Name(words[0], addrs...)
	return nil
}
