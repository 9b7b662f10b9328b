// Package nds is the message of Istio's name discovery service: the host names
// that a DNS proxy beside a workload answers by itself.
//
// Called by translate, which fills the table, and by proxy/dns, which reads it.
// Values are as safe for concurrent use as any protobuf message: not, once
// somebody writes.
//
// May import: nothing of ours.
package nds

//go:generate protoc --go_out=. --go_opt=paths=source_relative nds.proto
