package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

func (d *demo) checkPage(ctx context.Context) (string, error) {
	b, err := newBrowser()
	if err != nil {
		return "", err
	}
	status, body, err := fetch(ctx, b, d.url("/productpage"))
	if err != nil {
		return "", err
	}
	if status != http.StatusOK || !strings.Contains(body, "The Comedy of Errors") || strings.Contains(body, "Error fetching") {
		return "", fmt.Errorf("status %d, page without its parts", status)
	}
	seen, err := d.versions(ctx, b, 30)
	if err != nil {
		return "", err
	}
	if len(seen) != 3 {
		return "", fmt.Errorf("30 requests saw the versions %v of reviews; three were expected", seen)
	}
	return fmt.Sprintf("200, %d bytes; reviews of versions %v", len(body), seen), nil
}

func (d *demo) checkMutualTLS(ctx context.Context) (string, error) {
	metrics, err := d.admin(ctx, "reviews-v1", "/stats/prometheus")
	if err != nil {
		return "", err
	}
	const principal = `source_principal="spiffe://cluster.local/ns/default/sa/bookinfo-productpage"`
	line := metricLine(metrics, "istio_requests_total{", `reporter="destination"`, `connection_security_policy="mutual_tls"`, principal)
	if line == "" {
		return "", fmt.Errorf("reviews-v1 has counted no request over mutual TLS from productpage's identity")
	}
	certificates, err := d.admin(ctx, "reviews-v1", "/certs")
	if err != nil {
		return "", err
	}
	if !strings.Contains(certificates, "spiffe://cluster.local/ns/default/sa/bookinfo-reviews") {
		return "", fmt.Errorf("reviews-v1 has another identity than its service account's")
	}
	return "reviews saw spiffe://cluster.local/ns/default/sa/bookinfo-productpage", nil
}

// expectOnly applies a sample, then sends n requests that must all be answered
// by one version.
func (d *demo) expectOnly(ctx context.Context, sample, version string, b *http.Client, n int) error {
	if sample != "" {
		if err := d.applySample(ctx, sample); err != nil {
			return err
		}
	}
	seen, err := d.versions(ctx, b, n)
	if err != nil {
		return err
	}
	if seen[version] != n {
		return fmt.Errorf("%d requests were answered by %v, not by %s alone", n, seen, version)
	}
	return nil
}

func (d *demo) checkAllV1(ctx context.Context) (string, error) {
	b, err := newBrowser()
	if err != nil {
		return "", err
	}
	return "20 of 20 requests at v1", d.expectOnly(ctx, "virtual-service-all-v1.yaml", "v1", b, 20)
}

// twoUsers returns jason's browser and one in which nobody has logged in.
func (d *demo) twoUsers(ctx context.Context) (jason, other *http.Client, err error) {
	if jason, err = d.login(ctx, "jason"); err != nil {
		return nil, nil, err
	}
	other, err = newBrowser()
	return jason, other, err
}

func (d *demo) checkUser(ctx context.Context) (string, error) {
	jason, other, err := d.twoUsers(ctx)
	if err != nil {
		return "", err
	}
	if err := d.expectOnly(ctx, "virtual-service-reviews-test-v2.yaml", "v2", jason, 10); err != nil {
		return "", fmt.Errorf("jason: %w", err)
	}
	if err := d.expectOnly(ctx, "", "v1", other, 10); err != nil {
		return "", fmt.Errorf("others: %w", err)
	}
	return "jason 10 of 10 at v2, others 10 of 10 at v1", nil
}

// share applies a sample and expects the version's part of n requests within
// bounds that a right split leaves once in a million runs.
func (d *demo) share(ctx context.Context, sample, version string, n, least, most int) (string, error) {
	if err := d.applySample(ctx, sample); err != nil {
		return "", err
	}
	b, err := newBrowser()
	if err != nil {
		return "", err
	}
	seen, err := d.versions(ctx, b, n)
	if err != nil {
		return "", err
	}
	if seen[version] < least || seen[version] > most {
		return "", fmt.Errorf("%d requests went to %v; %s should have between %d and %d", n, seen, version, least, most)
	}
	return fmt.Sprintf("%d requests: %v", n, seen), nil
}

func (d *demo) checkHalf(ctx context.Context) (string, error) {
	return d.share(ctx, "virtual-service-reviews-50-v3.yaml", "v3", 200, 65, 135)
}

func (d *demo) checkNinety(ctx context.Context) (string, error) {
	return d.share(ctx, "virtual-service-reviews-90-10.yaml", "v1", 200, 155, 198)
}

// ratings asks productpage for ratings, and says how long it took.
func (d *demo) ratings(ctx context.Context, b *http.Client) (status int, took time.Duration, err error) {
	started := time.Now()
	status, _, err = fetch(ctx, b, d.url("/api/v1/products/0/ratings"))
	return status, time.Since(started), err
}

func (d *demo) checkDelay(ctx context.Context) (string, error) {
	if err := d.applySample(ctx, "virtual-service-ratings-test-delay.yaml"); err != nil {
		return "", err
	}
	jason, other, err := d.twoUsers(ctx)
	if err != nil {
		return "", err
	}
	_, slow, err := d.ratings(ctx, jason)
	if err != nil {
		return "", err
	}
	status, fast, err := d.ratings(ctx, other)
	if err != nil {
		return "", err
	}
	if slow < 2*time.Second || fast > time.Second || status != http.StatusOK {
		return "", fmt.Errorf("jason waited %v, others %v (status %d)", slow, fast, status)
	}
	return fmt.Sprintf("jason waited %.1f s, others %d ms", slow.Seconds(), fast.Milliseconds()), nil
}

func (d *demo) checkAbort(ctx context.Context) (string, error) {
	if err := d.applySample(ctx, "virtual-service-ratings-test-abort.yaml"); err != nil {
		return "", err
	}
	jason, other, err := d.twoUsers(ctx)
	if err != nil {
		return "", err
	}
	broken, _, err := d.ratings(ctx, jason)
	if err != nil {
		return "", err
	}
	fine, _, err := d.ratings(ctx, other)
	if err != nil {
		return "", err
	}
	if broken < 500 || fine != http.StatusOK {
		return "", fmt.Errorf("jason got %d, others %d", broken, fine)
	}
	return fmt.Sprintf("jason got %d, others %d", broken, fine), d.applySample(ctx, "virtual-service-all-v1.yaml")
}

// requestsAt counts the requests that a proxy has taken in for its program.
func (d *demo) requestsAt(ctx context.Context, proxy string) (int, error) {
	metrics, err := d.admin(ctx, proxy, "/stats/prometheus")
	if err != nil {
		return 0, err
	}
	total := 0
	for line := range strings.Lines(metrics) {
		if !strings.HasPrefix(line, "istio_requests_total{") || !strings.Contains(line, `reporter="destination"`) {
			continue
		}
		var n float64
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &n); err != nil {
			return 0, fmt.Errorf("metric %q: %w", line, err)
		}
		total += int(n)
	}
	return total, nil
}

func (d *demo) checkMirror(ctx context.Context) (string, error) {
	if err := d.applySample(ctx, "virtual-service-reviews-mirror.yaml"); err != nil {
		return "", err
	}
	before, err := d.requestsAt(ctx, "reviews-v3")
	if err != nil {
		return "", err
	}
	b, err := newBrowser()
	if err != nil {
		return "", err
	}
	if err := d.expectOnly(ctx, "", "v1", b, 20); err != nil {
		return "", err
	}
	after := before
	err = eventually(ctx, func() error {
		if after, err = d.requestsAt(ctx, "reviews-v3"); err != nil {
			return err
		}
		if after-before < 20 {
			return fmt.Errorf("v3 got %d copies of 20 requests", after-before)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("20 answers from v1, %d copies at v3", after-before), nil
}

func (d *demo) checkTimeout(ctx context.Context) (string, error) {
	if err := d.applySample(ctx, "virtual-service-reviews-timeout.yaml"); err != nil {
		return "", err
	}
	b, err := newBrowser()
	if err != nil {
		return "", err
	}
	started := time.Now()
	status, body, err := fetch(ctx, b, d.url("/api/v1/products/0/reviews"))
	if err != nil {
		return "", err
	}
	took := time.Since(started)
	if status == http.StatusOK || took > 1900*time.Millisecond {
		return "", fmt.Errorf("status %d after %v: %.100s", status, took, body)
	}
	saw := fmt.Sprintf("status %d after %d ms instead of 2 s", status, took.Milliseconds())
	return saw, d.applySample(ctx, "virtual-service-all-v1.yaml")
}
