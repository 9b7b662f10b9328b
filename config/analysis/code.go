package analysis

import "lateen.dev/lateen/config"

// code is a kind of complaint with its severity.
type code struct {
	config.Code
	severity config.Severity
}

func is(id, name string, severity config.Severity) code {
	return code{config.Code{ID: id, Name: name}, severity}
}

// The complaints this package makes.
var (
	referencedResourceNotFound = is("IST0101", "ReferencedResourceNotFound", config.Error)
	misplacedAnnotation        = is("IST0107", "MisplacedAnnotation", config.Warning)
	unknownAnnotation          = is("IST0108", "UnknownAnnotation", config.Warning)
	conflictingMeshHosts       = is("IST0109", "ConflictingMeshGatewayVirtualServiceHosts", config.Error)
	conflictingSidecars        = is("IST0110", "ConflictingSidecarWorkloadSelectors", config.Error)
	multipleSidecars           = is("IST0111", "MultipleSidecarsWithoutWorkloadSelectors", config.Error)
	portSelectorRequired       = is("IST0112", "VirtualServiceDestinationPortSelectorRequired", config.Error)
	portNaming                 = is("IST0118", "PortNameIsNotUnderNamingConvention", config.Info)
	noMatchingWorkloads        = is("IST0127", "NoMatchingWorkloadsFound", config.Warning)
	noVerification             = is("IST0128", "NoServerCertificateVerificationDestinationLevel", config.Warning)
	noVerificationOnPort       = is("IST0129", "NoServerCertificateVerificationPortLevel", config.Warning)
	unreachableRule            = is("IST0130", "VirtualServiceUnreachableRule", config.Warning)
	ineffectiveMatch           = is("IST0131", "VirtualServiceIneffectiveMatch", config.Info)
	hostNotInGateway           = is("IST0132", "VirtualServiceHostNotFoundInGateway", config.Warning)
	addressesRequired          = is("IST0134", "ServiceEntryAddressesRequired", config.Warning)
	deprecatedAnnotation       = is("IST0135", "DeprecatedAnnotation", config.Info)
	alphaAnnotation            = is("IST0136", "AlphaAnnotation", config.Info)
	duplicateCertificate       = is("IST0138", "GatewayDuplicateCertificate", config.Warning)
	conflictingGateways        = is("IST0145", "ConflictingGateways", config.Error)
	claimsWithoutTokens        = is("IST0149", "JwtClaimBasedRoutingWithoutRequestAuthN", config.Error)
	externalNamePort           = is("IST0150", "ExternalNameServiceTypeInvalidPortName", config.Warning)
	relativeOperation          = is("IST0151", "EnvoyFilterUsesRelativeOperation", config.Warning)
	replaceOperation           = is("IST0152", "EnvoyFilterUsesReplaceOperationIncorrectly", config.Error)
	addOperation               = is("IST0153", "EnvoyFilterUsesAddOperationIncorrectly", config.Error)
	removeOperation            = is("IST0154", "EnvoyFilterUsesRemoveOperationIncorrectly", config.Error)
	relativeWithVersion        = is("IST0155", "EnvoyFilterUsesRelativeOperationWithProxyVersion", config.Warning)
	invalidTelemetryProvider   = is("IST0157", "InvalidTelemetryProvider", config.Warning)
	conflictingTelemetries     = is("IST0159", "ConflictingTelemetryWorkloadSelectors", config.Error)
	multipleTelemetries        = is("IST0160", "MultipleTelemetriesWithoutWorkloadSelectors", config.Error)
	subsetSelectsNothing       = is("IST0173", "DestinationRuleSubsetNotSelectPods", config.Error)
	unknownDestinationRuleHost = is("IST0174", "UnknownDestinationRuleHost", config.Warning)
	conflictingProtocols       = is("IST0177", "ConflictingServiceEntryProtocol", config.Warning)
	notSupported               = code{config.CodeNotSupported, config.Warning}
)
