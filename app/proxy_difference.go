package app

import (
	"fmt"
	"net/http"

	"lateen.dev/lateen/cli"
	"lateen.dev/lateen/xds"
	"lateen.dev/lateen/xds/dump"
	"lateen.dev/lateen/xds/server"
)

// maxDifferences are listed of one proxy, maxDifferenceBytes are told of their
// content.
const (
	maxDifferences     = 1000
	maxDifferenceBytes = 8 << 20
)

// difference answers in what a proxy has something else than it shall have, by
// what it acknowledged.
func (d *debugPages) difference(w http.ResponseWriter, q *http.Request) {
	c := d.connected(w, q)
	if c == nil {
		return
	}
	list, total, err := d.server.Ledger().Differences(c.Stream, maxDifferences)
	if err != nil {
		writeError(w, http.StatusServiceUnavailable, fmt.Errorf("proxy %s: %w", q.PathValue("name"), err))
		return
	}
	out := cli.DifferenceResponse{Total: total, Differences: []cli.Difference{}}
	room := maxDifferenceBytes
	for i := range list {
		one, err := differenceOf(&list[i], room)
		if err != nil {
			writeError(w, http.StatusInternalServerError, err)
			return
		}
		one.Reason = list[i].Reason
		room -= len(one.WantedContent) + len(one.HasContent)
		out.Differences = append(out.Differences, one)
	}
	writeJSON(w, out)
}

// connected finds the stream of the proxy that the path names; it answers the
// request itself if there is none.
func (d *debugPages) connected(w http.ResponseWriter, q *http.Request) *server.ClientStatus {
	name := q.PathValue("name")
	clients := d.server.Ledger().Clients()
	for i := range clients {
		if n := clients[i].Node; n.Workload == name || n.ID == name {
			return &clients[i]
		}
	}
	writeError(w, http.StatusNotFound, fmt.Errorf("proxy %s is not connected", name))
	return nil
}

func differenceOf(d *server.Difference, room int) (cli.Difference, error) {
	out := cli.Difference{Type: xds.ShortType(d.TypeURL), Name: d.Name, State: cli.DifferenceWaits}
	switch {
	case d.Refused:
		out.State = cli.DifferenceRefused
	case d.Sent:
		out.State = cli.DifferenceSent
	}
	for _, side := range []struct {
		r       *xds.Resource
		version *string
		content *[]byte
	}{{d.Wanted, &out.Wanted, (*[]byte)(&out.WantedContent)}, {d.Has, &out.Has, (*[]byte)(&out.HasContent)}} {
		if side.r == nil {
			continue
		}
		*side.version = side.r.Version
		b, err := dump.Content(side.r)
		if err != nil {
			return out, err
		}
		if room -= len(b); room > 0 {
			*side.content = b
		}
	}
	return out, nil
}

// wanted answers with what a proxy shall have, as the proxy itself would show it.
func (d *debugPages) wanted(w http.ResponseWriter, q *http.Request) {
	c := d.connected(w, q)
	if c == nil {
		return
	}
	state, err := d.server.Ledger().Wanted(c.Stream)
	if err != nil {
		writeError(w, http.StatusServiceUnavailable, fmt.Errorf("proxy %s: %w", q.PathValue("name"), err))
		return
	}
	b, err := dump.ConfigJSON(state, false)
	writeRaw(w, b, err)
}

// whoHas answers which proxies need an object, and which have it since when.
func (d *debugPages) whoHas(w http.ResponseWriter, q *http.Request) {
	o := d.object(w, q)
	if o == nil {
		return
	}
	at := d.changed.at(o.Key)
	out := cli.WhoHasResponse{Object: o.Ref(), Origin: o.Origin.String(), Version: at.version, Proxies: []cli.Holder{}}
	if !at.time.IsZero() {
		out.Changed = &at.time
	}
	for _, p := range d.distribution(o, "") {
		out.Proxies = append(out.Proxies, cli.Holder{Proxy: p.name, Needs: p.Needs, Since: p.Since, Refused: p.Refused, Reason: p.Reason})
	}
	writeJSON(w, out)
}

// mountLedger adds what the local API tells of the ledger.
func (d *debugPages) mountLedger(mux *http.ServeMux) {
	mux.HandleFunc("GET "+cli.PathProxies+"/{name}/difference", d.difference)
	mux.HandleFunc("GET "+cli.PathProxies+"/{name}/wanted", d.wanted)
	mux.HandleFunc("GET "+cli.PathWhoHas, d.whoHas)
}
