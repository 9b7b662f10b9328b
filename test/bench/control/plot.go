package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

// curveScenarios are what the plot shows: meshes of growing size, each with one
// client, a stock Envoy and then Lateen's proxy.
func curveScenarios() []scenario {
	var list []scenario
	for _, ours := range []bool{false, true} {
		for _, services := range []int{1000, 5000, 10000} {
			list = append(list, scenario{services: services, clients: 1, ours: ours})
		}
	}
	return list
}

// series is one line of the plot: processor time in milliseconds by services.
type series struct {
	name, colour string
	dashed       bool
	points       []point
}

type point struct {
	services int
	ms       float64
}

// curves are the lines that the results give, istiod's among them.
func curves(all []*result) []series {
	line := func(name, colour, change string, ours bool) series {
		s := series{name: name, colour: colour}
		for _, r := range all {
			if c := r.Changes[change]; c != nil && r.scenario.ours == ours && r.scenario.clients == 1 {
				s.points = append(s.points, point{r.scenario.services, millis(c.CPU)})
			}
		}
		return s
	}
	lines := []series{
		line("endpoint, through a file", "#1b7f3b", "endpoint files", false),
		line("endpoint, through the local API", "#2f9fd0", "endpoint api", false),
		line("VirtualService, to Lateen's proxy", "#8a4fbf", "route files", true),
		line("VirtualService, to an Envoy", "#c77700", "route files", false),
	}
	endpoint := series{name: "istiod: endpoint", colour: "#777777", dashed: true}
	route := series{name: "istiod: VirtualService", colour: "#aaaaaa", dashed: true}
	for _, services := range []int{1000, 5000, 10000} {
		f := istiod(scenario{services: services, clients: 1})
		endpoint.points = append(endpoint.points, point{services, f.endpointCPU * 1000})
		route.points = append(route.points, point{services, f.routeCPU * 1000})
	}
	return append(lines, endpoint, route)
}

// The plot's measures, in its own units. The vertical axis is logarithmic.
const (
	plotWidth, plotHeight   = 820, 420
	plotLeft, plotRight     = 70, 500
	plotTop, plotBottom     = 50, 360
	plotLowest, plotHighest = 1.0, 1000.0 // ms
)

func plotX(services int) float64 {
	return plotLeft + (plotRight-plotLeft)*float64(services)/10000
}

func plotY(ms float64) float64 {
	ms = min(max(ms, plotLowest), plotHighest)
	return plotBottom - (plotBottom-plotTop)*math.Log(ms/plotLowest)/math.Log(plotHighest/plotLowest)
}

// writePlot draws what one change costs as the mesh grows.
func writePlot(file string, all []*result, when time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	text := func(x, y float64, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, s)
	}
	text(plotLeft, 24, "start", "Processor time of one change, in ms (logarithmic), by the number of services; one client; "+when.Format("2 January 2006"))
	for ms := plotLowest; ms <= plotHighest; ms *= 10 {
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#dddddd"/>`+"\n", plotLeft, plotY(ms), plotRight, plotY(ms))
		text(plotLeft-8, plotY(ms)+4, "end", fmt.Sprintf("%.0f", ms))
	}
	for _, services := range []int{1000, 5000, 10000} {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#eeeeee"/>`+"\n", plotX(services), plotTop, plotX(services), plotBottom)
		text(plotX(services), plotBottom+18, "middle", thousands(services))
	}
	for i, s := range curves(all) {
		s.draw(&b, i, text)
	}
	b.WriteString("</svg>\n")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return nil
}

// draw adds the line, and its name as number i of the legend.
func (s series) draw(b *strings.Builder, i int, text func(x, y float64, anchor, s string)) {
	if len(s.points) == 0 {
		return
	}
	style := fmt.Sprintf(`fill="none" stroke="%s" stroke-width="2"`, s.colour)
	if s.dashed {
		style += ` stroke-dasharray="6 4"`
	}
	var path []string
	for _, p := range s.points {
		path = append(path, fmt.Sprintf("%.1f,%.1f", plotX(p.services), plotY(p.ms)))
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%s services: %.1f ms</title></circle>`+"\n",
			plotX(p.services), plotY(p.ms), s.colour, thousands(p.services), p.ms)
	}
	fmt.Fprintf(b, `<polyline points="%s" %s/>`+"\n", strings.Join(path, " "), style)
	y := float64(plotTop + 22*i + 10)
	fmt.Fprintf(b, `<line x1="%d" y1="%.0f" x2="%d" y2="%.0f" %s/>`+"\n", plotRight+20, y-4, plotRight+45, y-4, style)
	first, last := s.points[0].ms, s.points[len(s.points)-1].ms
	text(plotRight+52, y, "start", fmt.Sprintf("%s: %.1f → %.1f", s.name, first, last))
}
