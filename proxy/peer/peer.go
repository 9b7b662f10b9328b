// Package peer is Istio's metadata exchange: the headers x-envoy-peer-metadata and x-envoy-peer-metadata-id, or the
// preamble of a TCP connection, by which the proxies at both ends tell each other which workloads they belong to.
//
// Called by proxy/hcm and proxy/tcp, once for each peer that it meets; it keeps the result as long as the peer sends the same bytes.
// The package is pure and starts no goroutine.
//
// May import: telemetry.
package peer

import (
	"encoding/base64"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"lateen.dev/lateen/telemetry"
)

// Self is what this proxy tells others.
type Self struct {
	// Metadata is the value of x-envoy-peer-metadata, ID that of x-envoy-peer-metadata-id. Empty values tell nothing.
	Metadata, ID []byte
	// Preamble is what a TCP connection begins with where its ends exchange metadata.
	Preamble []byte
	// Labels are this workload in telemetry.
	Labels telemetry.Peer
}

// Labels of Istio and Kubernetes that name an application.
const (
	labelApp               = "app"
	labelVersion           = "version"
	labelCanonicalName     = "service.istio.io/canonical-name"
	labelCanonicalRevision = "service.istio.io/canonical-revision"
)

// NewSelf encodes what this proxy tells others. id is the node's id; name the instance's.
func NewSelf(id, name string, p telemetry.Peer) (Self, error) {
	labels := map[string]any{}
	for k, v := range map[string]string{
		labelApp: p.App, labelVersion: p.Version, labelCanonicalName: p.CanonicalName, labelCanonicalRevision: p.CanonicalRevision,
	} {
		if v != "" {
			labels[k] = v
		}
	}
	s, err := structpb.NewStruct(map[string]any{
		"NAME": name, "NAMESPACE": p.Namespace, "WORKLOAD_NAME": p.Workload, "CLUSTER_ID": p.Cluster, "LABELS": labels,
	})
	if err != nil {
		return Self{}, fmt.Errorf("peer metadata: %w", err)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
	if err != nil {
		return Self{}, fmt.Errorf("peer metadata: %w", err)
	}
	encoded := make([]byte, base64.StdEncoding.EncodedLen(len(b)))
	base64.StdEncoding.Encode(encoded, b)
	pre, err := preamble(id, s)
	if err != nil {
		return Self{}, err
	}
	return Self{Metadata: encoded, ID: []byte(id), Preamble: pre, Labels: p}, nil
}

// maxMetadata bounds what is decoded.
const maxMetadata = 16 << 10

var errTooLong = errors.New("peer metadata: too long")

// Decode reads the value of x-envoy-peer-metadata.
func Decode(value []byte) (telemetry.Peer, error) {
	if len(value) > maxMetadata {
		return telemetry.Peer{}, errTooLong
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(value)))
	n, err := base64.StdEncoding.Decode(b, value)
	if err != nil {
		return telemetry.Peer{}, fmt.Errorf("peer metadata: %w", err)
	}
	var s structpb.Struct
	if err := proto.Unmarshal(b[:n], &s); err != nil {
		return telemetry.Peer{}, fmt.Errorf("peer metadata: %w", err)
	}
	return labelsOf(&s), nil
}

// labelsOf reads the fields that metrics name.
func labelsOf(s *structpb.Struct) telemetry.Peer {
	text := func(f map[string]*structpb.Value, key string) string { return f[key].GetStringValue() }
	f := s.GetFields()
	labels := f["LABELS"].GetStructValue().GetFields()
	p := telemetry.Peer{
		Workload: text(f, "WORKLOAD_NAME"), Namespace: text(f, "NAMESPACE"), Cluster: text(f, "CLUSTER_ID"),
		App: text(labels, labelApp), Version: text(labels, labelVersion),
		CanonicalName: text(labels, labelCanonicalName), CanonicalRevision: text(labels, labelCanonicalRevision),
	}
	if p.CanonicalName == "" {
		p.CanonicalName = p.App
	}
	if p.CanonicalName == "" {
		p.CanonicalName = p.Workload
	}
	if p.CanonicalRevision == "" {
		p.CanonicalRevision = p.Version
	}
	return p
}
