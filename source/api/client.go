package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
)

// MaxAnswer bounds what the client reads of an answer.
const MaxAnswer = 256 << 20

// Client talks to a control plane's local API. Close it to drop idle connections.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient makes a client of the API on a unix socket. It doesn't connect.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		MaxIdleConns: 1,
	}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Apply creates or replaces objects. When the input has errors, the error is an
// *Error that carries the problems.
func (c *Client) Apply(ctx context.Context, r ApplyRequest) (ApplyResponse, error) {
	return call[ApplyResponse](ctx, c, http.MethodPost, PathApply, r)
}

// Get reads objects.
func (c *Client) Get(ctx context.Context, r GetRequest) (GetResponse, error) {
	q := url.Values{"kind": {r.Kind}, "name": {r.Name}, "namespace": {r.Namespace}, "all": {strconv.FormatBool(r.AllNamespaces)}}
	return call[GetResponse](ctx, c, http.MethodGet, PathObjects+"?"+q.Encode(), nil)
}

// Delete deletes objects.
func (c *Client) Delete(ctx context.Context, r DeleteRequest) (DeleteResponse, error) {
	return call[DeleteResponse](ctx, c, http.MethodPost, PathDelete, r)
}

// Problems reads the present complaints about the live configuration.
func (c *Client) Problems(ctx context.Context) (ProblemsResponse, error) {
	return call[ProblemsResponse](ctx, c, http.MethodGet, PathProblems, nil)
}

// SourceProblems reads those of them that sources have: documents that they could not use. What can be found from the
// live objects is left out.
func (c *Client) SourceProblems(ctx context.Context) (ProblemsResponse, error) {
	return call[ProblemsResponse](ctx, c, http.MethodGet, PathProblems+"?analysis=false", nil)
}

// Changes reads the change log after a revision, at most limit entries.
func (c *Client) Changes(ctx context.Context, since uint64, limit int) (ChangesResponse, error) {
	q := url.Values{"since": {strconv.FormatUint(since, 10)}, "limit": {strconv.Itoa(limit)}}
	return call[ChangesResponse](ctx, c, http.MethodGet, PathChanges+"?"+q.Encode(), nil)
}

// Call sends body (nil for none) as JSON and decodes a 2xx answer into out. It
// serves further endpoints that app mounts beside this package's.
func (c *Client) Call(ctx context.Context, method, pathQuery string, body, out any) error {
	resp, err := c.Do(ctx, method, pathQuery, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, MaxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("control plane's answer to %s: %w", pathQuery, err)
	}
	return nil
}

// Do sends a request and returns the answer with its body open, for endpoints
// that stream. Answers that aren't 2xx come back as *Error.
func (c *Client) Do(ctx context.Context, method, pathQuery string, body any) (*http.Response, error) {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode request %s: %w", pathQuery, err)
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://control"+pathQuery, send)
	if err != nil {
		return nil, fmt.Errorf("request %s: %w", pathQuery, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readError(resp)
}

func readError(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode}
	text, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer))
	if err != nil {
		return fmt.Errorf("control plane's answer: %w", err)
	}
	if json.Unmarshal(text, &e.ErrorBody) != nil || e.Message == "" {
		e.Message = fmt.Sprintf("control plane answered %s: %s", resp.Status, bytes.TrimSpace(text))
	}
	return e
}

// ErrNotRunning means that no control plane answers on the socket.
var ErrNotRunning = errors.New("no control plane is running there")

func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: %w (start one with \"lateen control\", or point --dir at its directory)", c.socket, ErrNotRunning)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s belongs to another user: %w", c.socket, err)
	}
	return fmt.Errorf("control plane at %s: %w", c.socket, err)
}

func call[T any](ctx context.Context, c *Client, method, pathQuery string, body any) (T, error) {
	var out T
	err := c.Call(ctx, method, pathQuery, body, &out)
	return out, err
}
