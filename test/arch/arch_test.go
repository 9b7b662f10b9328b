package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// goPackage is what this test reads of `go list -json`.
type goPackage struct {
	ImportPath string
	Dir        string
	Imports    []string
	Deps       []string
	GoFiles    []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,Deps,GoFiles", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

// within returns the path below the module's root, or "" for foreign packages.
func within(path string) string {
	rest, ok := strings.CutPrefix(path, Module+"/")
	if !ok {
		return ""
	}
	return rest
}

func roomOf(path string) string {
	room, _, _ := strings.Cut(within(path), "/")
	return room
}

// reaches says whether a dependency falls under a name of a Never list.
func reaches(dep, forbidden string) bool {
	switch forbidden {
	case "k8s":
		return strings.HasPrefix(dep, "k8s.io/") || strings.HasPrefix(dep, "sigs.k8s.io/")
	case "xds protos":
		return strings.HasPrefix(dep, "github.com/envoyproxy/go-control-plane")
	case "ours":
		return strings.HasPrefix(dep, Module+"/")
	}
	return roomOf(dep) == forbidden || strings.HasPrefix(dep, forbidden+"/")
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	rooms := Rooms()
	for _, p := range listPackages(t) {
		name := roomOf(p.ImportPath)
		room, ok := rooms[name]
		if !ok {
			t.Errorf("%s: the room %q is not in the table of rooms", p.ImportPath, name)
			continue
		}
		for _, imported := range p.Imports {
			to := roomOf(imported)
			if to == "" || to == name || to == "lib" || slices.Contains(room.May, to) || slices.Contains(room.May, everyRoom) {
				continue
			}
			t.Errorf("%s imports %s: %s may import %v", p.ImportPath, imported, name, room.May)
		}
		for _, dep := range p.Deps {
			if roomOf(dep) == name && within(dep) != "" {
				continue
			}
			for _, forbidden := range room.Never {
				if reaches(dep, forbidden) {
					t.Errorf("%s reaches %s: %s must never depend on %s", p.ImportPath, dep, name, forbidden)
				}
			}
		}
	}
}

func TestThirdPartyWalls(t *testing.T) {
	for _, p := range listPackages(t) {
		path := within(p.ImportPath)
		if roomOf(p.ImportPath) == "test" {
			continue
		}
		for _, imported := range p.Imports {
			for prefix, allowed := range Walls() {
				if !strings.HasPrefix(imported, prefix) {
					continue
				}
				inside := slices.ContainsFunc(allowed, func(room string) bool { return path == room || strings.HasPrefix(path, room+"/") })
				if !inside {
					t.Errorf("%s imports %s, which belongs to %v", p.ImportPath, imported, allowed)
				}
			}
		}
	}
}

func TestProxyBinaryStaysSmall(t *testing.T) {
	found := false
	for _, p := range listPackages(t) {
		if within(p.ImportPath) != "cmd/lateen-proxy" {
			continue
		}
		found = true
		for _, dep := range p.Deps {
			for _, forbidden := range proxyBinary() {
				if reaches(dep, forbidden) {
					t.Errorf("cmd/lateen-proxy links %s, which the data plane alone must do without", dep)
				}
			}
		}
	}
	if !found {
		t.Error("cmd/lateen-proxy does not exist")
	}
}

// bannedNames say nothing about what is inside.
var bannedNames = regexp.MustCompile(`^(utils?|helpers?|common|misc|base|types)(_test)?$`)

func TestNames(t *testing.T) {
	for _, p := range listPackages(t) {
		if bannedNames.MatchString(filepath.Base(p.ImportPath)) {
			t.Errorf("%s: a package is named after what it holds", p.ImportPath)
		}
	}
	eachGoFile(t, func(path string) {
		if bannedNames.MatchString(strings.TrimSuffix(filepath.Base(path), ".go")) {
			t.Errorf("%s: a file is named after what it holds", path)
		}
	})
}

func TestEveryPackageHasOneComment(t *testing.T) {
	for _, p := range listPackages(t) {
		with := 0
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "" {
				with++
			}
		}
		if with != 1 && len(p.GoFiles) > 0 {
			t.Errorf("%s has %d package comments; one is needed: what it is, who calls it, what it promises about goroutines", p.ImportPath, with)
		}
	}
}

const (
	maxFileLines     = 800
	maxFunctionLines = 100
)

func TestSizes(t *testing.T) {
	longFile, longFunction := longFiles(), longFunctions()
	eachGoFile(t, func(path string) {
		if strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".pb.go") {
			return
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join("..", "..", path), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if ast.IsGenerated(f) {
			return
		}
		check(t, longFile, path, fset.File(f.Pos()).LineCount(), maxFileLines)
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
			check(t, longFunction, path+":"+fn.Name.Name, lines, maxFunctionLines)
		}
	})
	for name := range longFile {
		t.Errorf("the exception for %s is no longer needed", name)
	}
	for name := range longFunction {
		t.Errorf("the exception for %s is no longer needed", name)
	}
}

// check fails when lines is over the limit without an exception, and crosses
// off the exceptions that were needed.
func check(t *testing.T, exceptions map[string]string, name string, lines, limit int) {
	t.Helper()
	if lines <= limit {
		return
	}
	if _, ok := exceptions[name]; ok {
		delete(exceptions, name)
		return
	}
	t.Errorf("%s has %d lines; the limit is %d", name, lines, limit)
}

func TestNoInitFunctions(t *testing.T) {
	eachGoFile(t, func(path string) {
		if strings.HasSuffix(path, ".pb.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", path), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: build things where they are composed", path)
			}
		}
	})
}

// TestEnvironmentIsReadInOnePlace keeps hidden inputs out of the rooms.
func TestEnvironmentIsReadInOnePlace(t *testing.T) {
	reads := regexp.MustCompile(`\bos\.(Getenv|LookupEnv|Environ)\(`)
	eachGoFile(t, func(path string) {
		room, _, _ := strings.Cut(path, "/")
		if strings.HasSuffix(path, "_test.go") || room == "app" || room == "cmd" || room == "test" || room == "samples" {
			return
		}
		b, err := os.ReadFile(filepath.Join("..", "..", path))
		if err != nil {
			t.Fatal(err)
		}
		if at := reads.Find(b); at != nil {
			t.Errorf("%s uses %s: only app reads the environment", path, bytes.TrimSuffix(at, []byte("(")))
		}
	})
}

// eachGoFile calls f with the path of every Go file below the root, relative
// to it.
func eachGoFile(t *testing.T, f func(path string)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata") {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, ".go") {
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return fmt.Errorf("walking the tree: %w", err)
			}
			f(filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
