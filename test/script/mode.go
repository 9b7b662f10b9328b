package script

import (
	"strings"

	"lateen.dev/lateen/test/kit"
)

// Mode is a way of running a script.
type Mode struct {
	Name string
	// Client and Server are the engines beside hosts and workloads.
	Client, Server kit.Engine
	// Network makes the hosts' network; nil where nothing runs.
	Network func() (kit.Network, error)
}

// Modes are all modes.
func Modes() []Mode {
	return []Mode{
		{Name: "decide", Client: kit.Lateen, Server: kit.Lateen},
		{Name: "memory", Client: kit.Lateen, Server: kit.Lateen, Network: kit.Memory},
		{Name: "lateen", Client: kit.Lateen, Server: kit.Lateen, Network: kit.Namespaces},
		{Name: "lateen-envoy", Client: kit.Lateen, Server: kit.Envoy, Network: kit.Namespaces},
		{Name: "envoy-lateen", Client: kit.Envoy, Server: kit.Lateen, Network: kit.Namespaces},
		{Name: "envoy", Client: kit.Envoy, Server: kit.Envoy, Network: kit.Namespaces},
	}
}

func modeNamed(name string) (Mode, bool) {
	for _, m := range Modes() {
		if m.Name == name {
			return m, true
		}
	}
	return Mode{}, false
}

// holds says whether a condition holds in the mode.
func (m Mode) holds(condition string) (bool, bool) {
	name, negated := strings.CutPrefix(condition, "!")
	var yes bool
	switch name {
	case "decide":
		yes = m.Network == nil
	case "bytes":
		yes = m.Network != nil
	case "lateen":
		yes = m.Client == kit.Lateen
	case "envoy":
		yes = m.Client == kit.Envoy
	case "server-lateen":
		yes = m.Server == kit.Lateen
	case "server-envoy":
		yes = m.Server == kit.Envoy
	case "memory":
		yes = m.Name == "memory"
	case "netns":
		yes = m.Network != nil && m.Name != "memory"
	default:
		return false, false
	}
	return yes != negated, true
}
