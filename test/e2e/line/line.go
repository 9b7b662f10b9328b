// Package line is the lines that `peer drive` reads and writes: a Command each,
// answered by an Answer each, as JSON.
//
// Called by test/e2e and its peer. It holds data and starts no goroutines.
//
// May import: nothing of ours.
package line

import "net/http"

// Command is something that the peer shall do.
type Command struct {
	ID      int               `json:"id"`
	Op      string            `json:"op"`
	URL     string            `json:"url,omitempty"`
	Method  string            `json:"method,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Send is the text of a body or stream; Size bytes are sent instead, Chunked
	// without announcing their count.
	Send    string `json:"send,omitempty"`
	Size    int    `json:"size,omitempty"`
	Chunked bool   `json:"chunked,omitempty"`
	// Host is a name to look up, or an address to dial.
	Host    string `json:"host,omitempty"`
	Network string `json:"network,omitempty"`
	Kind    string `json:"kind,omitempty"`
	Workers int    `json:"workers,omitempty"`
	Load    int    `json:"load,omitempty"`
}

// Answer is what came of the Command with the same ID.
type Answer struct {
	ID      int         `json:"id"`
	Err     string      `json:"err,omitempty"`
	Status  int         `json:"status,omitempty"`
	Proto   string      `json:"proto,omitempty"`
	Headers http.Header `json:"headers,omitempty"`
	Body    string      `json:"body,omitempty"` // the first 8 KiB
	Length  int         `json:"length,omitempty"`
	Sum     uint64      `json:"sum,omitempty"`
	Addrs   []string    `json:"addrs,omitempty"`
	NoName  bool        `json:"noName,omitempty"`
	Total   int         `json:"total,omitempty"`
	Failed  int         `json:"failed,omitempty"`
	Errors  []string    `json:"errors,omitempty"`
	// Hits counts answers by the name of who answered.
	Hits map[string]int `json:"hits,omitempty"`
}
