package validation

import (
	"net/url"
	"slices"
	"strings"

	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
)

func (c *checker) envoyFilter(f *networking.EnvoyFilter) {
	c.selector("spec.workloadSelector.labels", f.WorkloadSelector.GetLabels())
	c.targets(nil, nil, f.TargetRefs)
	if f.WorkloadSelector != nil && len(f.TargetRefs) > 0 {
		c.fault("spec.targetRefs", "Keep one", "workloadSelector and targetRefs exclude each other")
	}
	for i, p := range f.ConfigPatches {
		at := path("spec.configPatches").at(i)
		if p == nil {
			c.fault(at, "Remove it", "the patch is empty")
			continue
		}
		if p.ApplyTo == networking.EnvoyFilter_INVALID {
			c.fault(at.to("applyTo"), "Name what to patch, such as HTTP_FILTER", "applyTo is missing")
		}
		if p.Patch == nil {
			c.fault(at.to("patch"), "Add patch with operation and value", "the patch is missing")
			continue
		}
		op := p.Patch.Operation
		if op == networking.EnvoyFilter_Patch_INVALID {
			c.fault(at.to("patch").to("operation"), "Name one, such as MERGE or INSERT_BEFORE", "operation is missing")
		}
		if op != networking.EnvoyFilter_Patch_REMOVE && p.Patch.Value == nil {
			c.fault(at.to("patch").to("value"), "Add the value", "operation %s needs a value", op)
		}
		if v := p.Match.GetProxy().GetProxyVersion(); v != "" {
			c.regex(at.to("match").to("proxy").to("proxyVersion"), v)
		}
	}
}

func (c *checker) proxyConfig(p *networkingv1beta1.ProxyConfig) {
	c.selector("spec.selector.matchLabels", p.Selector.GetMatchLabels())
	if n := p.Concurrency; n != nil && n.Value < 0 {
		c.fault("spec.concurrency", "0 means all cores", "%d is negative", n.Value)
	}
	if t := p.Image.GetImageType(); t != "" && !slices.Contains([]string{"default", "debug", "distroless"}, t) {
		c.warn("spec.image.imageType", "default, debug or distroless", "%q is no known type of image", t)
	}
	for k := range p.EnvironmentVariables {
		if k == "" || strings.ContainsAny(k, "= ") {
			c.fault(path("spec.environmentVariables").key(k), "", "%q is no name of a variable", k)
		}
	}
}

func (c *checker) telemetry(t *telemetry.Telemetry) {
	c.targets(t.Selector, t.TargetRef, t.TargetRefs)
	for i, tr := range t.Tracing {
		at := path("spec.tracing").at(i)
		if len(tr.Providers) > 1 {
			c.warn(at.to("providers"), "Keep one", "only the first tracing provider is used")
		}
		for j, p := range tr.Providers {
			c.providerName(at.to("providers").at(j), p)
		}
		if v := tr.RandomSamplingPercentage; v != nil && !(v.Value >= 0 && v.Value <= 100) {
			c.fault(at.to("randomSamplingPercentage"), "Percentages are 0 to 100", "%v is no percentage", v.Value)
		}
		for name, tag := range tr.CustomTags {
			if tag.GetType() == nil {
				c.fault(at.to("customTags").key(name), "Add literal, environment or header", "the tag has no value")
			}
		}
	}
	for i, m := range t.Metrics {
		at := path("spec.metrics").at(i)
		for j, p := range m.Providers {
			c.providerName(at.to("providers").at(j), p)
		}
		c.duration(at.to("reportingInterval"), m.ReportingInterval)
		for j, o := range m.Overrides {
			for name, tag := range o.TagOverrides {
				at := at.to("overrides").at(j).to("tagOverrides").key(name)
				switch {
				case tag.Operation == telemetry.MetricsOverrides_TagOverride_UPSERT && tag.Value == "":
					c.fault(at.to("value"), "Give an expression", "operation UPSERT needs a value")
				case tag.Operation == telemetry.MetricsOverrides_TagOverride_REMOVE && tag.Value != "":
					c.fault(at.to("value"), "Remove it", "operation REMOVE has no value")
				}
			}
		}
	}
	for i, l := range t.AccessLogging {
		for j, p := range l.Providers {
			c.providerName(path("spec.accessLogging").at(i).to("providers").at(j), p)
		}
	}
}

func (c *checker) providerName(at path, p *telemetry.ProviderRef) {
	if p.GetName() == "" {
		c.fault(at.to("name"), "Name one of MeshConfig's extensionProviders", "the provider has no name")
	}
}

func (c *checker) wasmPlugin(w *extensions.WasmPlugin) {
	c.targets(w.Selector, w.TargetRef, w.TargetRefs)
	if w.Url == "" {
		c.fault("spec.url", "Write oci://, https:// or file://", "the plugin has no url")
	} else if u, err := url.Parse(w.Url); err != nil || !slices.Contains([]string{"", "oci", "file", "http", "https"}, u.Scheme) {
		c.fault("spec.url", "Write oci://, https:// or file://", "%q is no address of a module", w.Url)
	}
	if w.Sha256 != "" && (len(w.Sha256) != 64 || strings.Trim(strings.ToLower(w.Sha256), "0123456789abcdef") != "") {
		c.fault("spec.sha256", "64 hexadecimal digits", "%q is no SHA-256 sum", w.Sha256)
	}
	for i, e := range w.VmConfig.GetEnv() {
		at := path("spec.vmConfig.env").at(i)
		if e.GetName() == "" {
			c.fault(at.to("name"), "Name the variable", "the variable has no name")
		}
		if e.GetValueFrom() == extensions.EnvValueSource_HOST && e.GetValue() != "" {
			c.fault(at.to("value"), "Remove it, or valueFrom", "a variable taken from the host has no value of its own")
		}
	}
	for i, m := range w.Match {
		for j, p := range m.GetPorts() {
			c.port(path("spec.match").at(i).to("ports").at(j).to("number"), p.GetNumber())
		}
	}
}

// maxLua is the largest script that an object may hold.
const maxLua = 64 << 10

func (c *checker) trafficExtension(e *extensions.TrafficExtension) {
	c.targets(e.Selector, nil, e.TargetRefs)
	switch {
	case e.GetWasm() == nil && e.GetLua() == nil:
		c.fault("spec", "Add wasm or lua", "the extension has no code")
	case e.GetLua() != nil && e.GetLua().GetInlineCode() == "":
		c.fault("spec.lua.inlineCode", "Write the script here", "the script is empty")
	case len(e.GetLua().GetInlineCode()) > maxLua:
		c.fault("spec.lua.inlineCode", "Use wasm", "the script has %d bytes; at most %d are allowed", len(e.GetLua().GetInlineCode()), maxLua)
	case e.GetWasm() != nil && e.GetWasm().GetUrl() == "":
		c.fault("spec.wasm.url", "Write oci://, https:// or file://", "the module has no url")
	}
}
