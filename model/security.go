package model

import (
	"lateen.dev/lateen/config"
)

// MTLSMode is how a workload's inbound side takes connections.
type MTLSMode uint8

// The modes. Unset inherits.
const (
	MTLSUnset MTLSMode = iota
	MTLSDisable
	MTLSPermissive
	MTLSStrict
)

// String returns Istio's name of the mode.
func (m MTLSMode) String() string {
	return [...]string{"UNSET", "DISABLE", "PERMISSIVE", "STRICT"}[m]
}

// PeerAuth is the effective peer authentication of one workload: mesh, namespace, workload and port settings composed.
type PeerAuth struct {
	// Default holds for ports that are not in Ports; never MTLSUnset.
	Default MTLSMode
	// Ports are the workload's own port numbers that differ.
	Ports map[uint32]MTLSMode
	// From are the objects that had a say: mesh, namespace and workload level, of those that exist.
	From []config.Key
}

// Mode returns the mode of one of the workload's ports.
func (p *PeerAuth) Mode(port uint32) MTLSMode {
	if m, ok := p.Ports[port]; ok {
		return m
	}
	return p.Default
}
