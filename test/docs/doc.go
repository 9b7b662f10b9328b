// Package docs runs what the documentation tells people to type: every command
// of every page below docs/tasks, against a demo that it starts.
//
// Who calls it: its own test. Goroutines: none outlive the test.
//
// May import: source/consul/consultest, the Consul of the pages; else nothing of
// ours: it runs the binary as anyone would.
package docs

import (
	"bufio"
	"fmt"
	"strings"
)

// Block is a command block of a page with what its output must contain.
type Block struct {
	Line    int
	Command string
	// Want are lines, each of which must be part of the output.
	Want []string
}

// Parse reads a page's blocks: ```sh is run; an ```output block that follows
// says what must be in its output.
func Parse(page string) ([]Block, error) {
	var blocks []Block
	var body []string
	kind, start := "", 0
	s := bufio.NewScanner(strings.NewReader(page))
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		switch {
		case kind == "" && strings.HasPrefix(line, "```"):
			kind, start, body = strings.TrimPrefix(line, "```"), n, nil
			if kind == "" {
				kind = "text"
			}
		case kind != "" && line == "```":
			switch kind {
			case "sh":
				blocks = append(blocks, Block{Line: start, Command: strings.Join(body, "\n")})
			case "output":
				if len(blocks) == 0 {
					return nil, fmt.Errorf("line %d: output without a command", start)
				}
				blocks[len(blocks)-1].Want = append(blocks[len(blocks)-1].Want, body...)
			}
			kind = ""
		case kind != "":
			body = append(body, line)
		}
	}
	if kind != "" {
		return nil, fmt.Errorf("line %d: the block does not end", start)
	}
	return blocks, s.Err()
}
