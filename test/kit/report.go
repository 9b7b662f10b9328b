package kit

import (
	"encoding/json"
	"net/http"
)

// Report is what a Server saw of a request, and who it is.
type Report struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Method  string `json:"method,omitempty"`
	// Path has the query.
	Path  string `json:"path,omitempty"`
	Host  string `json:"host,omitempty"`
	Proto string `json:"proto,omitempty"`
	// Headers have canonical names.
	Headers http.Header `json:"headers,omitempty"`
	Body    string      `json:"body,omitempty"`
	// Chunked says that the body came without a length.
	Chunked bool `json:"chunked,omitempty"`
	// Remote is the address that the request came from; ServerName the SNI, for a server that speaks TLS.
	Remote     string `json:"remote,omitempty"`
	ServerName string `json:"serverName,omitempty"`
}

// Headers by which a request tells a Server what to do.
const (
	// headerStatus is the status to answer with.
	headerStatus = "X-Kit-Status"
	// headerDelay is how long to wait before answering.
	headerDelay = "X-Kit-Delay"
	// headerFailFirst is how many requests with the same headerKey to answer with headerStatus (503) before succeeding.
	headerFailFirst = "X-Kit-Fail-First"
	headerKey       = "X-Kit-Key"
	// headerBody is the number of bytes to answer with in chunks, in place of a Report.
	headerBody = "X-Kit-Body"
	// headerReset closes the connection without an answer.
	headerReset = "X-Kit-Reset"
)

// Headers of answers, which gRPC has too.
const (
	headerName    = "X-Kit-Name"
	headerVersion = "X-Kit-Version"
	headerReport  = "X-Kit-Report"
)

func (r *Report) json() []byte {
	data, err := json.Marshal(r)
	if err != nil {
		return []byte(err.Error()) // strings and lists of them always marshal
	}
	return data
}

func parseReport(data []byte) *Report {
	r := &Report{}
	if json.Unmarshal(data, r) != nil || r.Name == "" {
		return nil // another body: a proxy's own answer
	}
	return r
}
