package validate

import (
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// LocalPath accepts a relative path that stays below where it begins.
func LocalPath(p string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if path.IsAbs(p) {
		errs = append(errs, field.Invalid(at, p, "must be a relative path"))
	}
	return append(errs, NoBacksteps(p, at)...)
}

// NoBacksteps refuses a path that goes up.
func NoBacksteps(p string, path *field.Path) field.ErrorList {
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return field.ErrorList{field.Invalid(path, p, "must not contain '..'")}
		}
	}
	return nil
}
