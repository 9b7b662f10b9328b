package model

import "slices"

// Visibility is an exportTo list made explicit: everybody, nobody, or the listed namespaces.
type Visibility struct {
	Public     bool
	Namespaces []string // sorted; without meaning if Public
}

// ParseExportTo reads an exportTo list of an object in namespace. "." is that namespace, "*" is everybody, "~" nobody. An
// empty list takes the default, which is read the same way; an empty default is public.
func ParseExportTo(exportTo []string, namespace string, byDefault []string) Visibility {
	if len(exportTo) == 0 {
		exportTo = byDefault
	}
	if len(exportTo) == 0 {
		return Visibility{Public: true}
	}
	var v Visibility
	for _, e := range exportTo {
		switch e {
		case "*":
			return Visibility{Public: true}
		case "~":
		case ".":
			v.Namespaces = append(v.Namespaces, namespace)
		default:
			v.Namespaces = append(v.Namespaces, e)
		}
	}
	slices.Sort(v.Namespaces)
	v.Namespaces = slices.Compact(v.Namespaces)
	return v
}

// VisibleTo reports whether clients in namespace see the object.
func (v Visibility) VisibleTo(namespace string) bool {
	if v.Public {
		return true
	}
	_, found := slices.BinarySearch(v.Namespaces, namespace)
	return found
}

// Equal reports whether both show the object to the same namespaces.
func (v Visibility) Equal(o Visibility) bool {
	return v.Public == o.Public && slices.Equal(v.Namespaces, o.Namespaces)
}
