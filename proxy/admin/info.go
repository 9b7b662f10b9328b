package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (s *server) serverInfo(w http.ResponseWriter, _ *http.Request) {
	up := fmt.Sprintf("%ds", int64(s.Now().Sub(s.Info.Start)/time.Second))
	state := "LIVE"
	if ok, _ := s.Store.Ready(); !ok {
		state = "PRE_INITIALIZING"
	} else if s.Info.Draining != nil && s.Info.Draining() {
		state = "DRAINING"
	}
	restarts := "disabled"
	if s.Info.HotRestart {
		restarts = "lateen.1"
	}
	o := object{
		"version": s.Info.Version, "state": state, "hot_restart_version": restarts, "uptime_current_epoch": up,
		"uptime_all_epochs": up, "command_line_options": object{"restart_epoch": s.Info.Epoch, "disable_hot_restart": !s.Info.HotRestart},
	}
	if len(s.Info.Node) > 0 {
		o["node"] = s.Info.Node
	}
	writeJSON(w, o)
}

func (s *server) ready(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	ok, why := s.Store.Ready()
	switch {
	case !ok:
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "PRE_INITIALIZING\n%s\n", why)
	case s.Info.Draining != nil && s.Info.Draining():
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "DRAINING")
	default:
		fmt.Fprintln(w, "LIVE")
	}
}

func (s *server) memory(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	text := func(n uint64) string { return strconv.FormatUint(n, 10) }
	writeJSON(w, object{
		"allocated": text(m.HeapAlloc), "heap_size": text(m.HeapSys), "pageheap_unmapped": text(m.HeapReleased),
		"pageheap_free": text(m.HeapIdle - m.HeapReleased), "total_thread_cache": "0", "total_physical_bytes": text(m.Sys - m.HeapReleased),
		"mallocs": text(m.Mallocs),
	})
}

// stat is one statistic.
type stat struct {
	name  string
	value int64
}

func (s *server) stats(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	format := q.Get("format")
	if format == "prometheus" {
		if s.Prometheus == nil {
			http.NotFound(w, r)
			return
		}
		s.Prometheus.ServeHTTP(w, r)
		return
	}
	var filter *regexp.Regexp
	if p := q.Get("filter"); p != "" {
		var err error
		if filter, err = regexp.Compile(p); err != nil {
			http.Error(w, "filter: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	list := s.collect(filter, q.Has("usedonly"))
	if format == "json" {
		out := []object{}
		for _, st := range list {
			out = append(out, object{"name": st.name, "value": st.value})
		}
		writeJSON(w, object{"stats": out})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	var b strings.Builder
	for _, st := range list {
		fmt.Fprintf(&b, "%s: %d\n", st.name, st.value)
	}
	fmt.Fprint(w, b.String())
}

func (s *server) collect(filter *regexp.Regexp, usedOnly bool) []stat {
	var out []stat
	add := func(name string, v int64) {
		if (filter == nil || filter.MatchString(name)) && (!usedOnly || v != 0) {
			out = append(out, stat{name, v})
		}
	}
	if s.Stats != nil {
		s.Stats(add)
	}
	p := s.Current.Load()
	ok, _ := s.Store.Ready()
	state, live := int64(2), int64(0) // Envoy's: 0 live, 1 draining, 2 pre-initializing
	switch draining := s.Info.Draining != nil && s.Info.Draining(); {
	case ok && draining:
		state = 1
	case ok:
		state, live = 0, 1
	}
	add("server.state", state)
	add("server.live", live)
	add("server.hot_restart_epoch", int64(s.Info.Epoch))
	add("server.uptime", int64(s.Now().Sub(s.Info.Start)/time.Second))
	add("cluster_manager.active_clusters", int64(len(p.Clusters())))
	add("listener_manager.total_listeners_active", int64(len(p.Listeners)))
	slices.SortFunc(out, func(a, b stat) int { return cmp.Compare(a.name, b.name) })
	return out
}

func (s *server) logging(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	q := r.URL.Query()
	if len(q) > 0 && r.Method != http.MethodPost {
		http.Error(w, "changing a level needs POST", http.StatusMethodNotAllowed)
		return
	}
	for key, values := range q {
		if err := s.setLevel(key, values[0]); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	levels := s.Levels.Levels()
	names := make([]string, 0, len(levels))
	for n := range levels {
		names = append(names, n)
	}
	slices.Sort(names)
	fmt.Fprintln(w, "active loggers:")
	for _, n := range names {
		fmt.Fprintf(w, "  %s: %s\n", n, levels[n])
	}
}

// setLevel understands level=LEVEL, SCOPE=LEVEL and paths=SCOPE:LEVEL,….
func (s *server) setLevel(key, value string) error {
	switch key {
	case "level":
		return s.Levels.SetLevel("", value)
	case "paths":
		for pair := range strings.SplitSeq(value, ",") {
			scope, level, ok := strings.Cut(pair, ":")
			if !ok {
				return fmt.Errorf("paths: %q is not of the form scope:level", pair)
			}
			if err := s.Levels.SetLevel(scope, level); err != nil {
				return err
			}
		}
		return nil
	}
	return s.Levels.SetLevel(key, value)
}

func (s *server) drain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	d := Drain{InboundOnly: q.Has("inboundonly"), Graceful: q.Has("graceful"), SkipExit: q.Has("skip_exit")}
	if d.SkipExit && !d.Graceful {
		http.Error(w, "skip_exit requires graceful", http.StatusBadRequest)
		return
	}
	s.Drain(d)
	fmt.Fprintln(w, "OK")
}

func (s *server) healthCheck(fail bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s.FailHealthCheck(fail)
		fmt.Fprintln(w, "OK")
	}
}

func (s *server) quit(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "OK")
	s.Quit()
}
