package app

import (
	"fmt"
	"html/template"
	"net/http"
	"strings"
)

// page is a line of an index: where something is, and what.
type page struct{ Path, What string }

// Link is where a browser finds the page in a form for people.
func (p page) Link() string {
	if strings.HasPrefix(p.Path, "/debug/") && p.Path != "/debug/" {
		return p.Path + "?pretty"
	}
	return p.Path
}

var indexPage = template.Must(template.New("index").Parse(`<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.Title}}</title>
<style>:root{color-scheme:light dark}body{font:15px/1.6 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}
td{padding:.1rem 1.5rem .1rem 0;vertical-align:top}a{font-family:ui-monospace,monospace}</style>
<h1>{{.Title}}</h1><table>{{range .Pages}}<tr><td><a href="{{.Link}}">{{.Path}}</a><td>{{.What}}{{end}}</table></html>
`))

// index lists pages: with links for browsers, else as text.
func index(title string, pages []page) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		if strings.Contains(q.Header.Get("Accept"), "text/html") {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_ = indexPage.Execute(w, struct { // whoever asked has gone
				Title string
				Pages []page
			}{title, pages})
			return
		}
		for _, p := range pages {
			fmt.Fprintf(w, "%-27s %s\n", p.Path, p.What)
		}
	}
}
