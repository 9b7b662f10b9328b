package config

// Code identifies a kind of complaint: the code and name users search for.
type Code struct{ ID, Name string }

// Codes of complaints that reading can make. IST codes are Istio's; LAT codes
// are for what Istio leaves to the Kubernetes API server.
var (
	CodeSchema          = Code{"IST0106", "SchemaValidationError"}
	CodeSchemaWarning   = Code{"IST0133", "SchemaWarning"}
	CodeDeprecated      = Code{"IST0002", "Deprecated"}
	CodeSyntax          = Code{"LAT0001", "SyntaxError"}
	CodeIgnoredKind     = Code{"LAT0002", "IgnoredKind"}
	CodeUnknownKind     = Code{"LAT0003", "UnknownKind"}
	CodeDuplicateObject = Code{"LAT0004", "DuplicateObject"}
	CodeUnreadable      = Code{"LAT0005", "UnreadableFile"}

	CodeSourceUnavailable = Code{"LAT0006", "SourceUnavailable"}
	CodeRivalSources      = Code{"LAT0007", "RivalSources"}

	// CodeNotSupported: understood, but nothing here puts it into effect.
	CodeNotSupported = Code{"LAT0008", "NotSupported"}
)
