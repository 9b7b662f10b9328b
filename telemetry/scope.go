package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Scopes are the process's named loggers, one per subject (xds, dns,
// upstream…), each with a level that can be changed while it runs. There is
// one Scopes per process, made by app.
type Scopes struct {
	handler slog.Handler
	initial slog.Level

	mu     sync.Mutex // guards levels
	levels map[string]*slog.LevelVar
}

// NewScopes returns scopes that write to out, as JSON lines if asJSON, else as
// text. level is the level of every scope until it is changed.
func NewScopes(out io.Writer, asJSON bool, level slog.Level) *Scopes {
	options := &slog.HandlerOptions{Level: slog.LevelDebug - 4}
	var h slog.Handler = slog.NewTextHandler(out, options)
	if asJSON {
		h = slog.NewJSONHandler(out, options)
	}
	return &Scopes{handler: h, initial: level, levels: map[string]*slog.LevelVar{}}
}

// Logger returns the logger of a scope.
func (s *Scopes) Logger(scope string) *slog.Logger {
	return slog.New(&scopeHandler{Handler: s.handler, level: s.level(scope)}).With("scope", scope)
}

func (s *Scopes) level(scope string) *slog.LevelVar {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.levels[scope]
	if l == nil {
		l = new(slog.LevelVar)
		l.Set(s.initial)
		s.levels[scope] = l
	}
	return l
}

// Levels returns every scope with its level's name.
func (s *Scopes) Levels() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]string, len(s.levels))
	for name, l := range s.levels {
		out[name] = LevelName(l.Level())
	}
	return out
}

// SetLevel changes the level of one scope, or of all with scope "" or "all".
func (s *Scopes) SetLevel(scope, level string) error {
	l, err := ParseLevel(level)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if scope == "" || scope == "all" {
		s.initial = l
		for _, v := range s.levels {
			v.Set(l)
		}
		return nil
	}
	v, ok := s.levels[scope]
	if !ok {
		return fmt.Errorf("log scope %q does not exist; there are %s", scope, strings.Join(slices.Sorted(maps.Keys(s.levels)), ", "))
	}
	v.Set(l)
	return nil
}

// levelOff is above every level that is logged.
const levelOff = slog.Level(100)

// ParseLevel reads Envoy's and Istio's level names.
func ParseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(name) {
	case "trace":
		return slog.LevelDebug - 4, nil
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "critical":
		return slog.LevelError, nil
	case "off", "none":
		return levelOff, nil
	}
	return 0, fmt.Errorf("log level %q does not exist; use trace, debug, info, warning, error, critical or off", name)
}

// LevelName is the name that ParseLevel reads.
func LevelName(l slog.Level) string {
	switch {
	case l >= levelOff:
		return "off"
	case l >= slog.LevelError:
		return "error"
	case l >= slog.LevelWarn:
		return "warning"
	case l >= slog.LevelInfo:
		return "info"
	case l >= slog.LevelDebug:
		return "debug"
	}
	return "trace"
}

// scopeHandler filters by its scope's level.
type scopeHandler struct {
	slog.Handler
	level *slog.LevelVar
}

// Enabled implements slog.Handler.
func (h *scopeHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// WithAttrs implements slog.Handler.
func (h *scopeHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &scopeHandler{Handler: h.Handler.WithAttrs(attrs), level: h.level}
}

// WithGroup implements slog.Handler.
func (h *scopeHandler) WithGroup(name string) slog.Handler {
	return &scopeHandler{Handler: h.Handler.WithGroup(name), level: h.level}
}
