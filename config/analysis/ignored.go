package analysis

import "google.golang.org/protobuf/reflect/protoreflect"

// What the APIs have and this mesh doesn't do. Who makes something work takes it
// out here; a test finds fields that are neither read anywhere nor listed.

// ignoredMessages are settings of which no field has an effect; many are kinds.
var ignoredMessages = map[protoreflect.FullName]string{
	"istio.security.v1beta1.RequestAuthentication":           "no token is checked, and none is refused",
	"istio.telemetry.v1alpha1.AccessLogging.Filter":          "everything is logged",
	"istio.networking.v1alpha3.EnvoyFilter":                  "no patch is applied",
	"istio.networking.v1beta1.ProxyConfig":                   "nothing here reads it",
	"istio.extensions.v1alpha1.WasmPlugin":                   "no plugin is loaded",
	"istio.extensions.v1alpha1.TrafficExtension":             "nothing is loaded",
	"istio.networking.v1alpha3.ReadinessProbe":               "the probe isn't made",
	"istio.networking.v1alpha3.ZoneAwareLoadBalancerSetting": "balancing doesn't look at the caller's zone",
}

// ignoredFields have no effect, and why.
var ignoredFields = map[protoreflect.FullName]string{
	"istio.telemetry.v1alpha1.Telemetry.tracing":                                                    "no spans are reported",
	"istio.telemetry.v1alpha1.Telemetry.metrics":                                                    "metrics are as by default",
	"istio.mesh.v1alpha1.MeshConfig.DefaultProviders.tracing":                                       "no spans are reported",
	"istio.mesh.v1alpha1.MeshConfig.DefaultProviders.metrics":                                       "metrics are as by default",
	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.EnvoyFileAccessLogProvider.omit_empty_values": "they are written as -",
	"istio.networking.v1alpha3.L4MatchAttributes.source_subnet":                                     "the rule applies to every source",
	"istio.networking.v1alpha3.OutlierDetection.consecutive_errors":                                 "write consecutive5xxErrors or consecutiveGatewayErrors",
	"istio.networking.v1alpha3.OutlierDetection.outlier_detection_http_error_codes":                 "server errors alone count",
	"istio.networking.v1alpha3.TrafficPolicy.RetryBudget.budget_interval":                           "the budget is of what is under way",
	"istio.networking.v1alpha3.HTTPFaultInjection.Delay.exponential_delay":                          "write fixedDelay",
	"istio.networking.v1alpha3.HTTPFaultInjection.Abort.http2_error":                                "write httpStatus or grpcStatus",
	"istio.networking.v1alpha3.Server.default_endpoint":                                             "write a VirtualService",
	"istio.networking.v1alpha3.Port.target_port":                                                    "it is deprecated, and the port's number counts",
	"istio.networking.v1alpha3.SidecarPort.target_port":                                             "it is deprecated, and the port's number counts",
	"istio.security.v1beta1.Source.request_principals":                                              "tokens aren't read, so no request has one",
	"istio.security.v1beta1.Source.not_request_principals":                                          "tokens aren't read, so no request has one",
	"istio.security.v1beta1.AuthorizationPolicy.provider":                                           "no external authorizer is asked",
	"istio.mesh.v1alpha1.MeshConfig.OutboundTrafficPolicy.tls":                                      "nothing here reads it",
	"istio.mesh.v1alpha1.ProxyConfig.ProxyHeaders.metadata_exchange_headers":                        "they are sent as by default",
	"istio.mesh.v1alpha1.ProxyConfig.ProxyHeaders.preserve_http1_header_case":                       "names are in lower case",
	"istio.mesh.v1alpha1.ProxyConfig.ProxyHeaders.x_forwarded_host":                                 "the header is as by default",
	"istio.mesh.v1alpha1.ProxyConfig.ProxyHeaders.x_forwarded_port":                                 "the header is as by default",
}

// ignoredValues are values of fields that are put into effect otherwise.
var ignoredValues = map[protoreflect.FullName]string{
	"istio.networking.v1alpha3.ServiceEntry.DYNAMIC_DNS":                         "names aren't looked up as they are asked for, so the hosts can't be reached",
	"istio.networking.v1alpha3.ServerTLSSettings.AUTO_PASSTHROUGH":               "it is taken for PASSTHROUGH: what no VirtualService routes isn't passed on",
	"istio.security.v1beta1.AuthorizationPolicy.CUSTOM":                          "no external authorizer is asked: requests that the rules select are denied",
	"istio.mesh.v1alpha1.MeshConfig.OutboundTrafficPolicy.ALLOW_ANY_DYNAMIC_DNS": "it is taken for ALLOW_ANY",
}

// usedFields are those that have an effect, of messages in which most have none.
var usedFields = map[protoreflect.FullName]string{
	"istio.mesh.v1alpha1.MeshConfig": `proxy_listen_port proxy_inbound_listen_port proxy_http_port connect_timeout tcp_keepalive
		protocol_detection_timeout access_log_file access_log_format access_log_encoding disable_envoy_listener_log
		outbound_traffic_policy default_http_retry_policy h2_upgrade_policy dns_refresh_rate locality_lb_setting
		default_service_export_to default_virtual_service_export_to default_destination_rule_export_to root_namespace
		enable_auto_mtls trust_domain trust_domain_aliases mesh_mTLS tls_defaults path_normalization default_config config_sources default_providers extension_providers`,
	"istio.mesh.v1alpha1.MeshConfig.ExtensionProvider": `name prometheus envoy_file_access_log`,
	"istio.mesh.v1alpha1.ProxyConfig":                  `proxy_headers gateway_topology proxy_metadata`,
}

// usedKeys are those that have an effect, of fields that anything may be written into.
var usedKeys = map[protoreflect.FullName]string{
	"istio.mesh.v1alpha1.ProxyConfig.proxy_metadata": `LATEEN_ON_DEMAND`,
}
