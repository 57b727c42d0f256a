// Command apidocs writes down what only the sources of Kubernetes' API types say: which values enumerated strings have, which
// fields are required though their tags say otherwise or the other way round, and the documentation and the marks for merging
// of types that client-go does not know. The API server's OpenAPI documents say so to users.
//
//	go run ./internal/tools/apidocs > controlplane/api/openapi_sources.go
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// patterns are the packages that have API types.
var patterns = []string{
	"k8s.io/api/...", "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1",
	"k8s.io/apimachinery/pkg/apis/meta/v1", "k8s.io/apimachinery/pkg/api/resource", "k8s.io/apimachinery/pkg/version",
	"k8s.io/apimachinery/pkg/runtime", "k8s.io/apimachinery/pkg/util/intstr",
}

// alone are the types that packages have which else are not of the API.
var alone = map[string]string{"k8s.io/apimachinery/pkg/runtime": "RawExtension", "k8s.io/apimachinery/pkg/util/intstr": "IntOrString"}

// unmerged are the packages of types that client-go has no merge types of.
var unmerged = regexp.MustCompile(`^k8s\.io/(apimachinery|apiextensions-apiserver)/|^k8s\.io/api/(auth|autoscaling/v1$)`)

// documented is the beginning of the packages whose types all carry their documentation, though not all of it.
const documented = "k8s.io/api/"

// found is what the sources say; keys are import paths with names.
type found struct {
	enums map[string]map[string]string
	marks map[string]bool
	docs  map[string]map[string]string
	lists map[string]list
	plain map[string]string
	// core are the constants of core/v1, which other packages' are made of
	core map[string]*ast.BasicLit
}

func main() {
	all, err := find()
	if err != nil {
		log.Fatal(err)
	}
	source, err := all.write()
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(source); err != nil {
		log.Fatal(err)
	}
}

func find() (*found, error) {
	out, err := exec.Command("go", append([]string{"list", "-f", "{{.ImportPath}} {{.Dir}}"}, patterns...)...).Output()
	if err != nil {
		return nil, err
	}
	all := &found{map[string]map[string]string{}, map[string]bool{}, map[string]map[string]string{}, map[string]list{}, map[string]string{}, map[string]*ast.BasicLit{}}
	for line := range strings.Lines(string(out)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return nil, err
		}
		var parsed []*ast.File
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			parsed = append(parsed, f)
		}
		if path == "k8s.io/api/core/v1" {
			all.core = literals(parsed)
		}
		for name, values := range inPackage(parsed, all.core) {
			all.enums[path+"."+name] = values
		}
		s := structsIn(parsed)
		for name, required := range s.marks {
			all.marks[path+"."+name] = required
		}
		if unmerged.MatchString(path) {
			for name, l := range s.lists {
				all.lists[path+"."+name] = l
			}
			for name, value := range s.plain {
				all.plain[path+"."+name] = value
			}
		}
		if strings.HasPrefix(path, documented) {
			for name, docs := range s.lost {
				all.docs[path+"."+name] = docs
			}
		} else {
			for name, docs := range s.docs {
				if ast.IsExported(name) && (alone[path] == "" || alone[path] == name) {
					all.docs[path+"."+name] = docs
				}
			}
		}
	}
	return all, nil
}

var enumMark = regexp.MustCompile(`(?m)^\+(k8s:)?enum$`)

// literals are the constants of a package that are written out.
func literals(files []*ast.File) map[string]*ast.BasicLit {
	out := map[string]*ast.BasicLit{}
	each(files, token.CONST, func(spec ast.Spec, _ string) {
		v := spec.(*ast.ValueSpec)
		for i, name := range v.Names {
			if i < len(v.Values) {
				if literal, ok := v.Values[i].(*ast.BasicLit); ok {
					out[name.Name] = literal
				}
			}
		}
	})
	return out
}

// inPackage finds the types with a mark, then the constants of those types, with what is said of each.
func inPackage(files []*ast.File, core map[string]*ast.BasicLit) map[string]map[string]string {
	enums := map[string]map[string]string{}
	each(files, token.TYPE, func(spec ast.Spec, doc string) {
		if t := spec.(*ast.TypeSpec); enumMark.MatchString(doc) {
			enums[t.Name.Name] = map[string]string{}
		}
	})
	each(files, token.CONST, func(spec ast.Spec, doc string) {
		v := spec.(*ast.ValueSpec)
		for i, name := range v.Names {
			if i >= len(v.Values) {
				continue
			}
			typ, value := v.Type, v.Values[i]
			if call, ok := value.(*ast.CallExpr); ok && typ == nil && len(call.Args) == 1 {
				typ, value = call.Fun, call.Args[0]
			}
			if other, ok := value.(*ast.SelectorExpr); ok && core[other.Sel.Name] != nil {
				value = core[other.Sel.Name]
			}
			ident, ok1 := typ.(*ast.Ident)
			literal, ok2 := value.(*ast.BasicLit)
			if !ok1 || !ok2 || enums[ident.Name] == nil {
				continue
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				continue
			}
			said := strings.Join(strings.Fields(strings.TrimPrefix(strings.TrimSpace(doc), name.Name)), " ")
			if had, ok := enums[ident.Name][text]; !ok || len(had) < len(said) {
				enums[ident.Name][text] = said
			}
		}
	})
	return enums
}

// each calls f for the declarations of one sort, with the comment before each as it is written.
func each(files []*ast.File, what token.Token, f func(spec ast.Spec, doc string)) {
	for _, file := range files {
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != what {
				continue
			}
			for _, spec := range decl.Specs {
				var doc *ast.CommentGroup
				switch s := spec.(type) {
				case *ast.TypeSpec:
					doc = s.Doc
				case *ast.ValueSpec:
					doc = s.Doc
				}
				if doc == nil && !decl.Lparen.IsValid() {
					doc = decl.Doc
				}
				f(spec, written(doc))
			}
		}
	}
}

// written returns a comment with its indentation, but for marks.
func written(doc *ast.CommentGroup) string {
	if doc == nil {
		return ""
	}
	var lines []string
	for _, c := range doc.List {
		line := strings.TrimRight(strings.TrimPrefix(strings.TrimPrefix(c.Text, "//"), " "), " \t")
		if bare := strings.TrimLeft(line, " \t"); strings.HasPrefix(bare, "+") {
			line = bare
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func (all *found) write() ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "// Code generated by internal/tools/apidocs. DO NOT EDIT.\n\npackage api\n\n")
	fmt.Fprintf(&b, "// enums has the values of enumerated types in order, each with its documentation, by import path and name.\n")
	fmt.Fprintf(&b, "var enums = map[string][][2]string{\n")
	for _, name := range slices.Sorted(maps.Keys(all.enums)) {
		if len(all.enums[name]) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%q: {\n", name)
		for _, value := range slices.Sorted(maps.Keys(all.enums[name])) {
			fmt.Fprintf(&b, "{%q, %q},\n", value, all.enums[name][value])
		}
		fmt.Fprintf(&b, "},\n")
	}
	fmt.Fprintf(&b, "}\n\n// requiredMarks says which fields are required where their tags say otherwise.\nvar requiredMarks = map[string]bool{\n")
	for _, name := range slices.Sorted(maps.Keys(all.marks)) {
		fmt.Fprintf(&b, "%q: %t,\n", name, all.marks[name])
	}
	fmt.Fprintf(&b, "}\n\n// sourceMarks says how fields are merged of types that client-go has no merge type of.\nvar sourceMarks = map[string]node{\n")
	for _, name := range slices.Sorted(maps.Keys(all.lists)) {
		l := all.lists[name]
		fmt.Fprintf(&b, "%q: {\"x-kubernetes-list-type\": %q", name, l.kind)
		if len(l.keys) > 0 {
			fmt.Fprintf(&b, ", \"x-kubernetes-list-map-keys\": %#v", l.keys)
		}
		fmt.Fprintf(&b, "},\n")
	}
	fmt.Fprintf(&b, "}\n\n// sourceDefaults are those of fields of such types.\nvar sourceDefaults = map[string]any{\n")
	for _, name := range slices.Sorted(maps.Keys(all.plain)) {
		fmt.Fprintf(&b, "%q: %s,\n", name, all.plain[name])
	}
	fmt.Fprintf(&b, "}\n\n// sourceDocs documents types that do not do so themselves, and fields of others whose documentation lost something.\nvar sourceDocs = map[string]map[string]string{\n")
	for _, name := range slices.Sorted(maps.Keys(all.docs)) {
		fmt.Fprintf(&b, "%q: {\n", name)
		for _, field := range slices.Sorted(maps.Keys(all.docs[name])) {
			fmt.Fprintf(&b, "%q: %q,\n", field, all.docs[name][field])
		}
		fmt.Fprintf(&b, "},\n")
	}
	fmt.Fprintf(&b, "}\n")
	return format.Source(b.Bytes())
}
