package arch

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// planPackage is where compiled configuration is.
const planPackage = Module + "/proxy/plan"

// TestCompiledFieldsAreRead holds that whatever the compiler accepts has an effect: every exported field of the plan is read
// by somebody who serves by it. Printing it does not count.
func TestCompiledFieldsAreRead(t *testing.T) {
	packages, exports := proxyPackages(t)
	fset := token.NewFileSet()
	from := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		file, ok := exports[path]
		if !ok {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(file)
	})
	plan, err := from.Import(planPackage)
	if err != nil {
		t.Fatal(err)
	}
	fields := exportedFields(plan)
	read := map[string]bool{}
	for _, p := range packages {
		if p.path == Module+"/proxy/admin" {
			continue
		}
		p.reads(t, fset, from, read)
	}
	var unread []string
	for name := range fields {
		if !read[name] && unreadFields()[name] == "" {
			unread = append(unread, name)
		}
	}
	slices.Sort(unread)
	if len(unread) > 0 {
		t.Errorf("nobody reads what the proxy accepts in these fields of proxy/plan; put them into effect, or refuse them in proxy/compile:\n  %s",
			strings.Join(unread, "\n  "))
	}
	for name := range unreadFields() {
		if read[name] || !fields[name] {
			t.Errorf("the exception for %s is not needed", name)
		}
	}
}

// proxyPackage is a package whose files may read the plan.
type proxyPackage struct {
	path  string
	files []string
}

// proxyPackages are those that serve, and where the compiled form of everything that they import is.
func proxyPackages(t *testing.T) ([]proxyPackage, map[string]string) {
	t.Helper()
	cmd := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}\t{{.Dir}}\t{{join .GoFiles \",\"}}",
		"./proxy/...", "./app/dataplane")
	cmd.Dir, cmd.Stderr = "../..", os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []proxyPackage
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		part := strings.Split(strings.TrimRight(line, "\n"), "\t")
		exports[part[0]] = part[1]
		if strings.HasPrefix(part[0], Module+"/proxy") || part[0] == Module+"/app/dataplane" {
			p := proxyPackage{path: part[0]}
			for _, name := range strings.Split(part[3], ",") {
				p.files = append(p.files, filepath.Join(part[2], name))
			}
			list = append(list, p)
		}
	}
	return list, exports
}

// exportedFields are those of the structs of a package, as TYPE.FIELD.
func exportedFields(p *types.Package) map[string]bool {
	all := map[string]bool{}
	for _, name := range p.Scope().Names() {
		st, ok := p.Scope().Lookup(name).Type().Underlying().(*types.Struct)
		if !ok {
			continue
		}
		for i := range st.NumFields() {
			if f := st.Field(i); f.Exported() && !f.Embedded() {
				all[name+"."+f.Name()] = true
			}
		}
	}
	return all
}

// reads notes the fields of the plan that a package reads. What stands on the left of an assignment is written.
func (p proxyPackage) reads(t *testing.T, fset *token.FileSet, from types.Importer, read map[string]bool) {
	t.Helper()
	var files []*ast.File
	for _, name := range p.files {
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}}
	if _, err := (&types.Config{Importer: from}).Check(p.path, fset, files, info); err != nil {
		t.Fatal(err)
	}
	written := map[*ast.SelectorExpr]bool{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if a, ok := n.(*ast.AssignStmt); ok && a.Tok == token.ASSIGN {
				for _, l := range a.Lhs {
					if s, ok := l.(*ast.SelectorExpr); ok {
						written[s] = true
					}
				}
			}
			return true
		})
	}
	for at, s := range info.Selections {
		if s.Kind() != types.FieldVal || written[at] || s.Obj().Pkg() == nil || s.Obj().Pkg().Path() != planPackage {
			continue
		}
		owner := s.Recv()
		if ptr, ok := owner.Underlying().(*types.Pointer); ok {
			owner = ptr.Elem()
		}
		// A field of an embedded struct is its own, whoever embeds it.
		for _, i := range s.Index()[:len(s.Index())-1] {
			st, ok := owner.Underlying().(*types.Struct)
			if !ok {
				break
			}
			owner = st.Field(i).Type()
			if ptr, ok := owner.Underlying().(*types.Pointer); ok {
				owner = ptr.Elem()
			}
		}
		if named, ok := types.Unalias(owner).(*types.Named); ok {
			read[named.Obj().Name()+"."+s.Obj().Name()] = true
		}
	}
}

// unreadFields are exceptions, each with its reason. The last list is what is owed: it may only become shorter.
func unreadFields() map[string]string {
	const shown, runtime, owed = "it is for people: admin shows it, or an error does", "it is for the engine to keep something in", "it has no effect yet"
	all := map[string]string{}
	for why, names := range map[string]string{shown: `
		AccessLog.Name Cluster.Origin Cluster.Ref FilterChain.Metadata HTTPConnectionManager.RDSName ListenerFilter.Name
		Locality.Region Locality.SubZone Locality.Zone LocalityEndpoints.Locality Mirror.Name Plan.Version
		RBACRule.Describe Secret.Updated Secret.VersionInfo Service.Host Service.Name Service.Namespace TLSParameters.Version
		TransportSocketMatch.Name TrustedRoots.Certs VirtualHost.Metadata Workload.MTLS`, runtime: `
		FilterChain.Runtime HTTPFilter.Runtime Route.Runtime RouteConfig.Runtime Secret.Runtime TCPProxy.Runtime
		UpstreamTLS.Runtime`, owed: `
		CORS.Shadow CircuitBreaker.MaxConnectionPools CircuitBreaker.TrackRemaining ClientCertDetails.Chain Cluster.AltStatName
		Cluster.IgnoreHealthOnRemoval ConnectionLimit.StatPrefix DNSOptions.RespectTTL DownstreamTLS.FullScan
		DownstreamTLS.SessionTimeout GRPCStats.AllMethods GRPCStats.EnableUpstream HTTP1Options.AllowAbsoluteURL
		HTTP1Options.AllowChunkedLength HTTP1Options.EnableTrailers HTTPConnectionManager.AddUserAgent
		HTTPConnectionManager.SchemeMatchUpstream Listener.StatPrefix ListenerFilter.Mark MetadataExchange.Protocol
		MetricOverride.Drop MetricOverride.Name MetricOverride.RemoveTags MetricOverride.Tags Mirror.TraceSampled
		NetworkRBAC.Continuous PeerMetadata.AdditionalLabels PeerMetadata.Downstream PeerMetadata.Upstream ProtocolOptions.HTTP1
		RBAC.ShadowPrefix RBAC.StatPrefix RequestIdentity.PackTraceReason RequestIdentity.RepresentIPv4AsIPv6
		RetryPolicy.UpdatePriorities Route.Decorator Route.StatPrefix Route.Tracing Route.TracingOff
		RouteAction.IncludeVHRateLimits RouteAction.InternalRedirect Router.StartChildSpan
		Router.SuppressGRPCRequestFailureCodeStats Secret.Generic Stats.Reporter Stats.StatPrefix TCPProxy.StatPrefix
		TraceTag.Default TraceTag.Header TraceTag.Literal TraceTag.Tag Tracing.MaxPathTag Tracing.Provider Tracing.Verbose`} {
		for _, name := range strings.Fields(names) {
			all[name] = why
		}
	}
	return all
}
