package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/source/api"
)

// check is one thing that the demo promises, and how to see it.
type check struct {
	name string
	run  func(ctx context.Context) (saw string, err error)
}

// checkTimeout bounds one check.
const checkTimeout = 60 * time.Second

// check tries everything that the demo shows, one line each, and fails if
// anything did not work.
func (d *demo) check(ctx context.Context) error {
	failed := 0
	for _, c := range d.checks() {
		checkCtx, cancel := context.WithTimeout(ctx, checkTimeout)
		started := time.Now()
		saw, err := c.run(checkCtx)
		cancel()
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted at %q", c.name)
		}
		took := time.Since(started).Seconds()
		if err != nil {
			failed++
			d.say("FAIL  %-34s %5.1f s  %v", c.name, took, err)
			continue
		}
		d.say("ok    %-34s %5.1f s  %s", c.name, took, saw)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed; logs are in %s", failed, len(d.checks()), d.logs)
	}
	d.say("all %d checks passed", len(d.checks()))
	return nil
}

func (d *demo) checks() []check {
	return []check{
		{"product page through the gateway", d.checkPage},
		{"identities and mutual TLS", d.checkMutualTLS},
		{"everybody to reviews v1", d.checkAllV1},
		{"jason to v2, others to v1", d.checkUser},
		{"half to v1, half to v3", d.checkHalf},
		{"nine in ten to v1", d.checkNinety},
		{"injected delay", d.checkDelay},
		{"injected abort", d.checkAbort},
		{"mirroring", d.checkMirror},
		{"timeout", d.checkTimeout},
		{"routing rules of every kind", d.checkRules},
		{"names, also across namespaces", d.checkNames},
		{"out of the mesh", d.checkEgress},
		{"plain text under PERMISSIVE, STRICT", d.checkStrict},
		{"a change is live in milliseconds", d.checkLatency},
		{"no request fails while all changes", d.checkChurn},
		{"a broken resource hurts nobody", d.checkInvalid},
		{"a proxy's refusal is shown", d.checkRefusal},
		{"why a request goes where it goes", d.checkExplain},
		{"metrics and access log", d.checkTelemetry},
		{"control plane killed and back", d.checkControlKilled},
		{"a workload killed and back", d.checkWorkloadKilled},
	}
}

// client returns a browser of its own: cookies are kept.
func newBrowser() (*http.Client, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, fmt.Errorf("cookies: %w", err)
	}
	return &http.Client{Jar: jar, Timeout: 30 * time.Second}, nil
}

// fetch gets a page with a status.
func fetch(ctx context.Context, c *http.Client, url string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", url, err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", url, err)
	}
	return resp.StatusCode, string(b), nil
}

// login returns a browser in which the user has logged in.
func (d *demo) login(ctx context.Context, user string) (*http.Client, error) {
	b, err := newBrowser()
	if err != nil {
		return nil, err
	}
	form := url.Values{"username": {user}, "passwd": {""}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url("/login"), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	once := *b // the page that a login leads to is not asked for: it may be made slow on purpose
	once.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := once.Do(req)
	if err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	resp.Body.Close()
	return b, nil
}

// reviewsVersion tells which version of reviews answers, by its stars.
func (d *demo) reviewsVersion(ctx context.Context, b *http.Client) (string, error) {
	status, body, err := fetch(ctx, b, d.url("/api/v1/products/0/reviews"))
	if err != nil {
		return "", err
	}
	if status != http.StatusOK {
		return "", fmt.Errorf("reviews answer %d: %.200s", status, body)
	}
	var answer struct {
		Reviews []struct {
			Rating *struct {
				Color string `json:"color"`
			} `json:"rating"`
		} `json:"reviews"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Reviews) == 0 {
		return "", fmt.Errorf("reviews answer %.200q: %w", body, orError(err, "no reviews"))
	}
	switch r := answer.Reviews[0].Rating; {
	case r == nil:
		return "v1", nil
	case r.Color == "black":
		return "v2", nil
	case r.Color == "red":
		return "v3", nil
	}
	return "", fmt.Errorf("reviews with stars of no known colour: %.200s", body)
}

// versions counts which versions answer n requests.
func (d *demo) versions(ctx context.Context, b *http.Client, n int) (map[string]int, error) {
	seen := map[string]int{}
	for range n {
		v, err := d.reviewsVersion(ctx, b)
		if err != nil {
			return nil, err
		}
		seen[v]++
	}
	return seen, nil
}

// apply applies YAML through the local API and waits until every proxy has it.
func (d *demo) apply(ctx context.Context, name, text string) (cli.WaitResponse, error) {
	c := d.api()
	defer c.Close()
	answer, err := c.Apply(ctx, api.ApplyRequest{Files: []api.File{{Name: name, Data: text}}})
	if err != nil {
		return cli.WaitResponse{}, fmt.Errorf("applying %s: %w", name, err)
	}
	w, err := d.waitRevision(ctx, c, "", answer.Revision)
	if err != nil {
		return w, fmt.Errorf("%s: %w", name, err)
	}
	return w, nil
}

// waitRevision waits until every proxy has a revision of a source, which is
// the one that apply writes to if unnamed.
func (d *demo) waitRevision(ctx context.Context, c *api.Client, source string, revision uint64) (cli.WaitResponse, error) {
	var w cli.WaitResponse
	path := fmt.Sprintf("%s?source=%s&revision=%d&timeout=10s", cli.PathWait, url.QueryEscape(source), revision)
	if err := c.Call(ctx, http.MethodGet, path, nil, &w); err != nil {
		return w, fmt.Errorf("waiting for revision %d: %w", revision, err)
	}
	if len(w.Missing) > 0 {
		return w, fmt.Errorf("%s does not have revision %d: %s", w.Missing[0].Proxy, revision, w.Missing[0].Reason)
	}
	return w, nil
}

// applySample applies one of the sample's files.
func (d *demo) applySample(ctx context.Context, name string) error {
	b, err := os.ReadFile(filepath.Join(d.Dir, "samples", name))
	if err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	_, err = d.apply(ctx, name, string(b))
	return err
}

func (d *demo) api() *api.Client { return api.NewClient(filepath.Join(d.Dir, cli.SocketName)) }

// admin gets a page of a proxy's admin address through the local API.
func (d *demo) admin(ctx context.Context, proxy, path string) (string, error) {
	c := d.api()
	defer c.Close()
	resp, err := c.Do(ctx, http.MethodGet, cli.PathProxies+"/"+proxy+".default/admin"+path, nil)
	if err != nil {
		return "", fmt.Errorf("admin page %s of %s: %w", path, proxy, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return "", fmt.Errorf("admin page %s of %s: %w", path, proxy, err)
	}
	return string(b), nil
}

// metricLine finds a line of Prometheus text that has all the parts.
func metricLine(text string, parts ...string) string {
	for line := range strings.Lines(text) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// eventually repeats f until it succeeds or ctx ends.
func eventually(ctx context.Context, f func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
