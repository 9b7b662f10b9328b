package config

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// ServiceSpec is the part of a Kubernetes v1 Service that a mesh reads. Fields
// that only a kubelet or a cloud provider reads are accepted and dropped.
type ServiceSpec struct {
	Ports        []ServicePort     `json:"ports,omitempty"`
	Selector     map[string]string `json:"selector,omitempty"`
	ClusterIP    string            `json:"clusterIP,omitempty"`
	ClusterIPs   []string          `json:"clusterIPs,omitempty"`
	Type         string            `json:"type,omitempty"` // ClusterIP (also when empty), NodePort, LoadBalancer, ExternalName
	ExternalName string            `json:"externalName,omitempty"`

	PublishNotReadyAddresses bool     `json:"publishNotReadyAddresses,omitempty"`
	ExternalIPs              []string `json:"externalIPs,omitempty"`
	SessionAffinity          string   `json:"sessionAffinity,omitempty"`
	InternalTrafficPolicy    string   `json:"internalTrafficPolicy,omitempty"`
	ExternalTrafficPolicy    string   `json:"externalTrafficPolicy,omitempty"`
	TrafficDistribution      string   `json:"trafficDistribution,omitempty"`
	IPFamilies               []string `json:"ipFamilies,omitempty"`
	IPFamilyPolicy           string   `json:"ipFamilyPolicy,omitempty"`
}

// Headless says that the service was asked to have no address of its own.
func (s *ServiceSpec) Headless() bool { return s.ClusterIP == "None" }

// Addresses are the service's own addresses, none when it is headless or has
// none yet.
func (s *ServiceSpec) Addresses() []string {
	if s.Headless() {
		return nil
	}
	if len(s.ClusterIPs) > 0 {
		return s.ClusterIPs
	}
	if s.ClusterIP != "" {
		return []string{s.ClusterIP}
	}
	return nil
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Name        string     `json:"name,omitempty"`
	Protocol    string     `json:"protocol,omitempty"` // TCP (also when empty), UDP, SCTP
	AppProtocol string     `json:"appProtocol,omitempty"`
	Port        int32      `json:"port,omitempty"`
	TargetPort  PortTarget `json:"targetPort,omitzero"`
	NodePort    int32      `json:"nodePort,omitempty"`
}

// Target is the workload port that the service port leads to: a number, or a
// name which the workload resolves. An unset targetPort means the same number.
func (p ServicePort) Target() PortTarget {
	if p.TargetPort == (PortTarget{}) {
		return PortTarget{Number: p.Port}
	}
	return p.TargetPort
}

// PortTarget is a port by number or by name.
type PortTarget struct {
	Number int32
	Name   string
}

// String is the number or the name.
func (t PortTarget) String() string {
	if t.Name != "" {
		return t.Name
	}
	return strconv.Itoa(int(t.Number))
}

// IsZero says that the field wasn't set.
func (t PortTarget) IsZero() bool { return t == PortTarget{} }

// MarshalJSON writes a number or a string.
func (t PortTarget) MarshalJSON() ([]byte, error) {
	if t.Name != "" {
		return json.Marshal(t.Name)
	}
	return json.Marshal(t.Number)
}

// UnmarshalJSON reads a number or a string; a string of digits is a number.
func (t *PortTarget) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		if n, err := strconv.ParseInt(v, 10, 32); err == nil {
			*t = PortTarget{Number: int32(n)}
			return nil
		}
		*t = PortTarget{Name: v}
		return nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) <= math.MaxInt32 {
			*t = PortTarget{Number: int32(v)}
			return nil
		}
	}
	return fmt.Errorf("port %s: want a number or a port name", b)
}

// NamespaceSpec is a Kubernetes v1 Namespace, whose meaning for the mesh is in
// its labels.
type NamespaceSpec struct{}
