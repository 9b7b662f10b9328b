package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// profiledRows are the loads that a profile for the compiler is made of, about as long each.
var profiledRows = []string{"plain", "tls", "hop", "grpc", "streaming", "tcp", "handshakes", "known", "resumed"}

// writeProfile leads the loads through Lateen's proxy alone, and writes where it spends its CPU time to a file that
// go build -pgo takes.
func (b *bench) writeProfile(ctx context.Context, rows []row, file string) error {
	var parts []string
	for _, r := range rows {
		if !slices.Contains(profiledRows, r.key) {
			continue
		}
		list, err := b.profileRow(ctx, r)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		parts = append(parts, list...)
	}
	if len(parts) == 0 {
		return fmt.Errorf("none of the rows is part of a profile; those are %v", profiledRows)
	}
	merged, err := mergeProfiles(ctx, parts)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, merged, 0o644); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}

// profileRow runs a row's load and returns the files with the profiles of the processes that took part.
func (b *bench) profileRow(ctx context.Context, r row) ([]string, error) {
	c := r.candidates[0]
	p, l, err := b.loaded(ctx, c)
	if err != nil {
		return nil, err
	}
	var parts []string
	var recording []chan error
	_, err = l.run(ctx, func() {
		for q := p; q != nil; q = q.next {
			b.dir.files++
			part := filepath.Join(b.dir.path, fmt.Sprintf("profile-%d", b.dir.files))
			done := make(chan error, 1)
			go func() { done <- q.recordProfile(ctx, part, b.o.duration) }()
			parts, recording = append(parts, part), append(recording, done)
		}
	})
	for _, done := range recording {
		err = errors.Join(err, <-done)
	}
	return parts, err
}

// recordProfile has the proxy record where it spends its CPU time, for a whole number of seconds.
func (p *peer) recordProfile(ctx context.Context, file string, length time.Duration) error {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.admin, max(1, int(length/time.Second)))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s: %s", resp.Status, bytes.TrimSpace(body))
	}
	if err := os.WriteFile(file, body, 0o644); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return nil
}

func mergeProfiles(ctx context.Context, files []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"tool", "pprof", "-proto", "-output=/dev/stdout"}, files...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w: %s", err, stderr.Bytes())
	}
	return out, nil
}
